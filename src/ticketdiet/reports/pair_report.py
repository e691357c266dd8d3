"""What is shown of one pair of networks: figures of the line between them, and a table of single examples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.core.values import Images
from ticketdiet.landscape.barrier import Barrier
from ticketdiet.reports.landscape_figures import alpha_figure, barrier_histogram
from ticketdiet.reports.writing import write_bytes, write_rows

PER_EXAMPLE_SUFFIXES = (".npy", ".parquet", ".csv", ".json")


def pair_figures(barrier: Barrier, name: str, *, tolerance: float, split: str) -> dict[str, Figure]:
    """Draw loss and error along the line, and the barriers of single examples.

    Args:
        barrier: Between the two networks.
        name: What to call the pair.
        tolerance: Barrier up to which an example is connected, nats.
        split: Split it was measured on.

    Returns:
        File stem -> figure: ``alpha`` and ``histogram``.
    """
    losses, errors = along_the_line(barrier)
    title, legend = f"Along the line between two networks, {split}", "network a to network b"
    histogram = barrier_histogram({name: barrier.per_example.numpy()}, tolerance=tolerance, split=split, legend=legend)
    return {
        "alpha": alpha_figure(barrier.alphas, {name: losses}, {name: errors}, split=split, title=title, legend=legend),
        "histogram": histogram,
    }


def along_the_line(barrier: Barrier) -> tuple[np.ndarray, np.ndarray]:
    """Return mean loss (nats) and error (share) at every alpha, float64 (alphas,) each."""
    return barrier.losses.double().mean(1).numpy(), (1 - barrier.correct.double().mean(1)).numpy()


def pair_summary(barrier: Barrier, *, tolerance: float, split: str) -> dict[str, Any]:
    """Return what was measured of a pair as one JSON-able mapping."""
    losses, errors = along_the_line(barrier)
    return {
        "split": split,
        "examples": barrier.losses.shape[1],
        "batch_norm": barrier.batch_norm,
        "barrier_mean": barrier.mean,
        "barrier_max": barrier.max,
        "error_barrier": barrier.error_barrier,
        "connected_share": barrier.connected_share(tolerance),
        "tolerance": tolerance,
        "alphas": list(barrier.alphas),
        "loss": losses.tolist(),
        "error": errors.tolist(),
    }


def write_examples(barrier: Barrier, images: Images, path: Path, *, tolerance: float) -> None:
    """Write the barrier of every example, in the order of the images.

    Args:
        barrier: Between the two networks.
        images: What it was measured on.
        path: ``.npy`` for the barriers alone, float64 (n,); ``.parquet``, ``.csv`` or ``.json`` for a table with
            ``index label barrier connected loss_a loss_midpoint loss_b``.
        tolerance: Barrier up to which an example is connected, nats.

    Raises:
        UserError: For another ending, or when it cannot be written.
    """
    if path.suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, barrier.per_example.numpy())
        write_bytes(buffer.getvalue(), path)
        return
    middle = barrier.alphas.index(0.5)
    columns = {
        "index": np.arange(len(images)),
        "label": images.labels.cpu().numpy(),
        "barrier": barrier.per_example.numpy(),
        "connected": barrier.connected(tolerance).numpy(),
        "loss_a": barrier.losses[0].numpy(),
        "loss_midpoint": barrier.losses[middle].numpy(),
        "loss_b": barrier.losses[-1].numpy(),
    }
    write_rows(pd.DataFrame(columns), path)
