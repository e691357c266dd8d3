"""``ticketdiet curvature``: the curvature of the loss at a stored network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketdiet.cli.networks import (
    Dataset,
    FromStudy,
    Limit,
    NetworkA,
    Opened,
    Resolution,
    Root,
    Split,
    choose_dataset,
    open_networks,
    statistics_in_words,
)
from ticketdiet.cli.options import DEFAULT_STORE, Device, Json, Settings, StoreUrl
from ticketdiet.cli.output import save_figures, save_json, warn
from ticketdiet.core.errors import UserError
from ticketdiet.landscape.modes import CurvatureBatchNorm, CurvatureMatrix

if TYPE_CHECKING:
    from ticketdiet.core.values import Images
    from ticketdiet.landscape.curvature import CurvatureOperator

LAGGING_STEPS = 200  # below it the running statistics of a rewinding point are warned about
MATRIX_NAMES = {"hessian": "Hessian", "ggn": "Gauss-Newton"}


def curvature(
    a: NetworkA,
    store: StoreUrl = DEFAULT_STORE,
    study: FromStudy = None,
    settings: Settings = None,
    dataset: Dataset = None,
    resolution: Resolution = None,
    limit: Limit = None,
    root: Root = None,
    matrix: Annotated[
        CurvatureMatrix, typer.Option(help="Which matrix: hessian, or ggn for Gauss-Newton.")
    ] = "hessian",
    examples: Annotated[int, typer.Option(min=1, help="How many examples the loss is the mean of.")] = 1000,
    split: Split = "train",
    top: Annotated[int, typer.Option(min=0, help="How many of the largest eigenvalues to compute.")] = 5,
    trace: Annotated[bool, typer.Option("--trace", help="Also estimate the trace.")] = False,
    density: Annotated[
        bool, typer.Option("--density", help="Also estimate and draw the density of the eigenvalues.")
    ] = False,
    kept_only: Annotated[
        bool, typer.Option("--kept-only", help="Stay in the space of the weights that the mask keeps.")
    ] = False,
    batch_norm: Annotated[
        CurvatureBatchNorm,
        typer.Option(help="BatchNorm's statistics: recalibrated on train images, as stored (eval), or each batch's."),
    ] = "recalibrate",
    seed: Annotated[int, typer.Option(min=0, help="Seed for the choice of examples and all random vectors.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the figure. The default is figures/curvature-A.")] = None,
    json: Json = None,
    device: Device = "auto",
) -> None:
    """Estimate eigenvalues, trace and spectral density of the loss's curvature at a stored network."""
    source = choose_dataset(study, settings, dataset, resolution, limit, root, store)
    opened = open_networks(store, (a,), source, split, device)
    network = opened.networks[0]
    images = _some(opened.images, examples, seed)
    operator = _operator(opened, images, matrix, batch_norm, kept_only=kept_only)
    result = {"a": network.address, "split": split, "seed": seed, **asdict(operator.setting)}
    result["calibrated_on"] = "train" if batch_norm == "recalibrate" else None
    _warn_of_lag(opened, batch_norm)
    typer.echo(f"{MATRIX_NAMES[matrix]} of the mean cross-entropy at {network.label}")
    statistics = statistics_in_words(batch_norm)
    typer.echo(f"{operator.dimension:,} weights, {len(images):,} {split} images, BatchNorm: {statistics}, seed {seed}")
    result |= _spectrum(operator, top, seed, trace=trace)
    if density:
        result |= _density(operator, network.label, result.get("eigenvalues"), seed, out)
    save_json(result, json)


def _some(images: Images, count: int, seed: int) -> Images:
    """Return ``count`` of the images by a seeded choice, or all of them."""
    from ticketdiet.core.seeds import numpy_generator

    if count >= len(images):
        return images
    chosen = numpy_generator(seed, "curvature", "examples").permutation(len(images))[:count]
    chosen.sort()
    return images.take(chosen)


def _operator(
    opened: Opened, images: Images, matrix: CurvatureMatrix, batch_norm: CurvatureBatchNorm, *, kept_only: bool
) -> CurvatureOperator:
    from ticketdiet.landscape.curvature import curvature_operator

    network = opened.networks[0]
    if kept_only and network.mask is None:
        raise UserError(
            f"--kept-only was given, but {network.label} has no mask.",
            expected="a level, or a child of one",
            way_out="leave --kept-only out: all weights of a dense network are kept",
        )
    return curvature_operator(
        opened.model,
        network.weights,
        images,
        matrix=matrix,
        batch_norm=batch_norm,
        calibration=opened.train,
        mask=network.mask if kept_only else None,
    )


def _warn_of_lag(opened: Opened, batch_norm: CurvatureBatchNorm) -> None:
    from ticketdiet.studies.stages.pretrain import Pretrain

    stage = opened.networks[0].stage
    if batch_norm == "eval" and isinstance(stage, Pretrain) and stage.steps < LAGGING_STEPS:
        warn(
            f"after {stage.steps} steps BatchNorm's running statistics lag behind the weights, and eigenvalues in eval "
            "mode can be wrong by a factor of ten; --batch-norm recalibrate measures the statistics again"
        )


def _spectrum(operator: CurvatureOperator, top: int, seed: int, *, trace: bool) -> dict[str, Any]:
    from ticketdiet.landscape.spectra import estimate_trace, top_eigenvalues

    found: dict[str, Any] = {}
    if top:
        found["eigenvalues"] = top_eigenvalues(operator, top, seed=seed).values.tolist()
        typer.echo(f"largest eigenvalues: {', '.join(f'{value:.4g}' for value in found['eigenvalues'])}")
    if trace:
        estimate = estimate_trace(operator, seed=seed)
        found["trace"] = {
            "value": estimate.value,
            "standard_error": estimate.standard_error,
            "products": estimate.products,
        }
        typer.echo(f"trace: {estimate.value:.4g} ± {estimate.standard_error:.2g} ({estimate.products} products)")
    return found


def _density(
    operator: CurvatureOperator, label: str, top: list[float] | None, seed: int, out: Path | None
) -> dict[str, Any]:
    from ticketdiet.landscape.spectra import spectral_density
    from ticketdiet.reports.landscape_figures import eigenvalue_figure

    typer.echo("Estimating the density takes 240 products with the matrix.", err=True)
    found = spectral_density(operator, seed=seed)
    matrix = MATRIX_NAMES[operator.setting.matrix]
    figure = eigenvalue_figure(
        {label: (found.grid, found.density)},
        top=None if top is None else {label: top},
        operator=matrix,
        title=f"Eigenvalue density of the {matrix}, BatchNorm: {operator.setting.batch_norm}",
        legend="network",
    )
    save_figures({"eigenvalues": figure}, out or Path("figures") / f"curvature-{label.split()[-1]}")
    arrays = {"grid": found.grid, "density": found.density, "nodes": found.nodes, "weights": found.weights}
    return {"density": {name: array.tolist() for name, array in arrays.items()} | {"bandwidth": found.bandwidth}}
