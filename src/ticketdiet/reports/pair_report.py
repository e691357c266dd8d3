"""What is shown of single pairs and families: a line, a table of examples, the evidence of a search."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.core.values import Images
from ticketdiet.landscape.barrier import Barrier
from ticketdiet.reports.landscape_figures import alpha_figure, barrier_histogram, step_axis
from ticketdiet.reports.style import COLOURS, GREY, caption, house_style, new_figure, side_legend
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


def evidence_figure(
    evidence: Sequence[tuple[int, float, float]],
    *,
    k: int | None,
    max_barrier: float | None,
    min_fraction: float | None,
    tolerance: float,
    title: str = "",
) -> Figure:
    """Draw what a search for the rewinding point saw: mean barrier and connected fraction over the probed steps.

    Args:
        evidence: (step, mean barrier in nats, connected fraction) of each probe, in any order.
        k: The answer, marked by a line; None for none.
        max_barrier: Largest mean barrier that counts as connected, nats; None when the rule does not ask.
        min_fraction: Smallest connected fraction, likewise.
        tolerance: Barrier up to which an example is connected, nats.
        title: Title of the figure.

    Returns:
        The figure.
    """
    steps, barriers, fractions = (np.array(column, dtype=np.float64) for column in zip(*sorted(evidence), strict=True))
    with house_style():
        figure = new_figure(title, width=8.6, height=3.6)
        left, right = figure.subplots(1, 2)
        for axes, values, limit in ((left, barriers, max_barrier), (right, 100 * fractions, _percent(min_fraction))):
            axes.plot(steps, values, color=COLOURS[0], marker="o")
            if limit is not None:
                axes.axhline(limit, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, label=f"rule: {limit:g}")
            if k is not None:
                axes.axvline(k, color=COLOURS[1], linewidth=1.2, label=f"answer: k = {k}")
            step_axis(axes, steps)
        left.set_ylabel("mean train barrier (nats)")
        right.set_ylabel("connected training examples (%)")
        right.set_ylim(-3, 103)
        caption(left, f"{len(steps)} probed steps")
        caption(right, f"connected: barrier at most {tolerance:g} nats")
        side_legend(figure, left if max_barrier is not None else right)
    return figure


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def along_the_line(barrier: Barrier) -> tuple[np.ndarray, np.ndarray]:
    """Return mean loss (nats) and error (a fraction) at every alpha, float64 (alphas,) each."""
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
        "connected_fraction": barrier.connected_fraction(tolerance),
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
