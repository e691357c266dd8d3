"""``barrier``: what lies between two stored networks."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketdiet.cli.networks import (
    Dataset,
    FromStudy,
    Json,
    Limit,
    NetworkA,
    Opened,
    Precision,
    Resolution,
    Root,
    Split,
    choose_dataset,
    open_networks,
    save_figures,
    save_json,
    statistics_in_words,
)
from ticketdiet.cli.options import DEFAULT_STORE, Device, Settings, StoreUrl
from ticketdiet.core.errors import UserError, shown
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE

if TYPE_CHECKING:
    from ticketdiet.core.values import Mask, Weights
    from ticketdiet.landscape.barrier import Barrier

ALIGNMENT_IMAGES = 1000
MOST_POINTS = 1001


class Align(enum.StrEnum):
    """How units of b are put in the order of a's."""

    none = "none"
    weights = "weights"
    activations = "activations"


class LineBatchNorm(enum.StrEnum):
    """What becomes of BatchNorm's statistics between the ends."""

    interpolate = "interpolate"
    recalibrate = "recalibrate"
    batch = "batch"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(barrier)


def barrier(
    a: NetworkA,
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    store: StoreUrl = DEFAULT_STORE,
    study: FromStudy = None,
    settings: Settings = None,
    dataset: Dataset = None,
    resolution: Resolution = None,
    limit: Limit = None,
    root: Root = None,
    alphas: Annotated[str, typer.Option(help="Points on the line: how many, or a list as 0.25,0.5,0.75.")] = "11",
    batch_norm: Annotated[LineBatchNorm, typer.Option(help="BatchNorm's statistics on the line.")] = (
        LineBatchNorm.interpolate
    ),
    tolerance: Annotated[float, typer.Option(help="Barrier in nats up to which an example is connected.")] = (
        DEFAULT_TOLERANCE
    ),
    align: Annotated[Align, typer.Option(help="First put b's units in the order of a's.")] = Align.none,
    split: Split = "train",
    precision: Annotated[Precision, typer.Option(help="Of the forward passes.")] = Precision.float32,
    per_example: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every example's barrier: .npy, .parquet or .csv.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the figures; default figures/barrier-A-B.")] = None,
    json: Json = None,
    device: Device = "auto",
) -> None:
    """Measure the loss barrier between two stored networks, and draw the line between them."""
    from ticketdiet.reports.pair_report import PER_EXAMPLE_SUFFIXES, pair_figures, pair_summary, write_examples
    from ticketdiet.reports.writing import check_suffix

    points = _points(alphas, tolerance)
    if per_example is not None:
        check_suffix(per_example, PER_EXAMPLE_SUFFIXES)
    source = choose_dataset(study, settings, dataset, resolution, limit, root)
    opened = open_networks(store, (a, b), source, split, device)
    first, second = opened.networks
    found, moved = _measure(opened, points, batch_norm, align, precision)
    result = {"a": first.address, "b": second.address, "precision": precision.value, **moved}
    result |= pair_summary(found, tolerance=tolerance, split=split)
    result["calibrated_on"] = "train" if batch_norm is LineBatchNorm.recalibrate else None
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

    Raises:
        UserError: For anything else.
    """
    try:
        if text.strip().isdecimal() and int(text) > 1:
            return _evenly_spaced(int(text))
        points = [float(part) for part in text.split(",", MOST_POINTS)]
        if len(points) > MOST_POINTS:
            raise ValueError("too many points")
        return points
    except ValueError:
        raise UserError(
            f"--alphas {shown(text)}.",
            expected=f"a number of points, or points in [0, 1]; at most {MOST_POINTS:,}",
            way_out="--alphas 11, or 0.25,0.5",
        ) from None


def _evenly_spaced(count: int) -> list[float]:
    if count > MOST_POINTS:
        raise ValueError("too many points")
    return [index / (count - 1) for index in range(count)]


def _points(alphas: str, tolerance: float) -> tuple[float, ...]:
    import torch

    from ticketdiet.landscape.barrier import connected_within, sweep_points

    connected_within(torch.empty(0), tolerance)  # refuses a bad tolerance before the work
    return sweep_points(parse_alphas(alphas))


def _measure(
    opened: Opened, points: tuple[float, ...], batch_norm: LineBatchNorm, align: Align, precision: Precision
) -> tuple[Barrier, dict[str, Any]]:
    from ticketdiet.landscape.barrier import measure_barrier

    first = opened.networks[0]
    weights_b, mask_b, moved = _aligned(opened, align)
    found = measure_barrier(
        opened.model,
        first.weights,
        weights_b,
        opened.images,
        points,
        batch_norm.value,
        mask_a=first.mask,
        mask_b=mask_b,
        calibration=opened.train,
        precision=precision.value,
    )
    return found, moved


def _aligned(opened: Opened, method: Align) -> tuple[Weights, Mask | None, dict[str, Any]]:
    """Return b's weights and mask in the order of a's units, and how far that brought them together."""
    first, second = opened.networks
    if method is Align.none:
        return second.weights, second.mask, {"align": "none"}
    from ticketdiet.core.seeds import numpy_generator
    from ticketdiet.landscape.alignment import align

    train = opened.train
    some = numpy_generator(0, "alignment").permutation(len(train))[:ALIGNMENT_IMAGES]
    found = align(
        opened.model,
        first.weights,
        second.weights,
        method="weights" if method is Align.weights else "activations",
        images=train.take(some),
    )
    moved = {
        "align": method.value,
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
    share, tolerance = 100 * result["connected_share"], result["tolerance"]
    typer.echo(f"connected: {share:.1f} % of the examples (barrier of at most {tolerance:g} nats)")
