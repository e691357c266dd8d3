"""``ticketdiet barrier``: the loss along the line between two stored networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketdiet.cli.networks import (
    Dataset,
    FromStudy,
    Limit,
    NetworkA,
    NetworkB,
    Opened,
    Resolution,
    Root,
    Split,
    choose_dataset,
    open_networks,
    statistics_in_words,
)
from ticketdiet.cli.options import DEFAULT_STORE, Device, Json, Settings, StoreUrl
from ticketdiet.cli.output import save_figures, save_json
from ticketdiet.core.errors import UserError, shown
from ticketdiet.landscape.modes import AlignmentMethod
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE, check_tolerance
from ticketdiet.training.modes import BatchNormPolicy, Precision

if TYPE_CHECKING:
    from ticketdiet.core.values import Mask, Weights
    from ticketdiet.landscape.barrier import Barrier

ALIGNMENT_IMAGES = 1000
MOST_POINTS = 1001


def barrier(
    a: NetworkA,
    b: NetworkB,
    store: StoreUrl = DEFAULT_STORE,
    study: FromStudy = None,
    settings: Settings = None,
    dataset: Dataset = None,
    resolution: Resolution = None,
    limit: Limit = None,
    root: Root = None,
    alphas: Annotated[
        str, typer.Option(help="Points on the line: a number of them, or a list such as 0.25,0.5,0.75.")
    ] = "11",
    batch_norm: Annotated[
        BatchNormPolicy,
        typer.Option(
            help="BatchNorm's statistics between the ends: interpolated, recalibrated on train images, or each batch's."
        ),
    ] = "interpolate",
    tolerance: Annotated[
        float, typer.Option(help="An example counts as connected up to this barrier, in nats.")
    ] = DEFAULT_TOLERANCE,
    align: Annotated[
        AlignmentMethod | None,
        typer.Option(help="First put the units of B in the order of those of A, by weights or by activations."),
    ] = None,
    split: Split = "train",
    precision: Annotated[Precision, typer.Option(help="Precision of the forward passes.")] = "float32",
    per_example: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every example's barrier to a .npy, .parquet, .csv or .json file."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures. The default is figures/barrier-A-B.")
    ] = None,
    json: Json = None,
    device: Device = "auto",
) -> None:
    """Measure the loss barrier between two stored networks, and draw the line between them."""
    from ticketdiet.reports.pair_report import PER_EXAMPLE_SUFFIXES, pair_figures, pair_summary, write_examples
    from ticketdiet.reports.writing import check_suffix

    points = _points(alphas, tolerance)
    if per_example is not None:
        check_suffix(per_example, PER_EXAMPLE_SUFFIXES)
    source = choose_dataset(study, settings, dataset, resolution, limit, root, store)
    opened = open_networks(store, (a, b), source, split, device)
    first, second = opened.networks
    found, moved = _measure(opened, points, batch_norm, align, precision)
    result = {"a": first.address, "b": second.address, "precision": precision, **moved}
    result |= pair_summary(found, tolerance=tolerance, split=split)
    result["calibrated_on"] = "train" if batch_norm == "recalibrate" else None
    _print_barrier(first.label, second.label, result)
    name = f"{first.label} to\n{second.label}"
    folder = out or Path("figures") / f"barrier-{first.address[:8]}-{second.address[:8]}"
    save_figures(pair_figures(found, name, tolerance=tolerance, split=split), folder)
    if per_example is not None:
        write_examples(found, opened.images, per_example, tolerance=tolerance)
        typer.echo(f"examples: {per_example}")
    save_json(result, json)


def parse_alphas(text: str) -> list[float]:
    """Read ``--alphas``: a whole number of evenly spaced points, both ends included, or a list of points.

    Returns:
        The points, in the order given.

    Raises:
        UserError: For anything else.
    """
    try:
        if text.strip().isdecimal() and int(text) > 1:
            return _evenly_spaced(int(text))
        points = [float(part) for part in text.split(",", MOST_POINTS)]
        if len(points) <= MOST_POINTS:
            return points
    except ValueError:
        pass
    raise UserError(
        f"--alphas is {shown(text)}.",
        expected=f"a number of points, or points in [0, 1]; at most {MOST_POINTS:,}",
        way_out="--alphas 11, or 0.25,0.5",
    )


def _evenly_spaced(count: int) -> list[float]:
    if count > MOST_POINTS:
        raise ValueError("too many points")
    return [index / (count - 1) for index in range(count)]


def _points(alphas: str, tolerance: float) -> tuple[float, ...]:
    from ticketdiet.landscape.measurement import sweep_points

    check_tolerance(tolerance)  # before the work
    return sweep_points(parse_alphas(alphas))


def _measure(
    opened: Opened,
    points: tuple[float, ...],
    batch_norm: BatchNormPolicy,
    align: AlignmentMethod | None,
    precision: Precision,
) -> tuple[Barrier, dict[str, Any]]:
    from ticketdiet.landscape.measurement import measure_barrier

    first = opened.networks[0]
    weights_b, mask_b, moved = _aligned(opened, align)
    found = measure_barrier(
        opened.model,
        first.weights,
        weights_b,
        opened.images,
        points,
        batch_norm,
        mask_a=first.mask,
        mask_b=mask_b,
        calibration=opened.train,
        precision=precision,
    )
    return found, moved


def _aligned(opened: Opened, method: AlignmentMethod | None) -> tuple[Weights, Mask | None, dict[str, Any]]:
    """Return b's weights and mask in the order of a's units, and how far that brought them together."""
    first, second = opened.networks
    if method is None:
        return second.weights, second.mask, {"align": "none"}
    from ticketdiet.core.seeds import numpy_generator
    from ticketdiet.landscape.alignment import align

    train = opened.train
    some = numpy_generator(0, "alignment").permutation(len(train))[:ALIGNMENT_IMAGES]
    found = align(
        opened.model,
        first.weights,
        second.weights,
        method=method,
        images=train.take(some),
    )
    moved = {
        "align": method,
        "distance_before": found.distance_before,
        "distance_after": found.distance_after,
    }
    return found.weights, found.permute_mask(second.mask), moved


def _print_barrier(a: str, b: str, result: dict[str, Any]) -> None:
    batch_norm = statistics_in_words(result["batch_norm"])
    typer.echo(f"{a} to {b}, {result['examples']:,} {result['split']} images, BatchNorm: {batch_norm}")
    if result["align"] != "none":
        before, after = result["distance_before"], result["distance_after"]
        typer.echo(f"b aligned by {result['align']}: distance to a {before:.4g} before, {after:.4g} after")
    typer.echo(f"mean barrier at the midpoint: {result['barrier_mean']:.4f} nats")
    typer.echo(f"largest height of the loss above the chord: {result['barrier_max']:.4f} nats")
    typer.echo(f"largest height of the error above the chord: {100 * result['error_barrier']:.2f} %")
    connected, tolerance = 100 * result["connected_fraction"], result["tolerance"]
    typer.echo(f"connected: {connected:.1f} % of the examples (barrier of at most {tolerance:g} nats)")
