"""Pictures of scores and subsets: of one of them, and of all that a study has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.core.values import Images, Scores
from ticketdiet.data.sheet import sample_sheet
from ticketdiet.data.subsets import choose_subset
from ticketdiet.reports.completeness import Results
from ticketdiet.reports.diet_report import (
    ChosenSubset,
    score_stages,
    stability_rows,
    stored_scores,
    training_images,
)
from ticketdiet.reports.score_figures import image_sheet, rank_stability_figure, score_figure
from ticketdiet.reports.style import save_figure
from ticketdiet.studies.planner import Plan

MOST_DIETS = 6  # more lines over one distribution cannot be told apart


def score_figures(scores: Scores, images: Images, name: str, size: int) -> dict[str, Figure]:
    """Draw a score: ``distribution``, ``stability`` over two networks or more, and ``sheet`` where images can be shown.

    Args:
        scores: What to draw.
        images: The training images it belongs to.
        name: What to call it.
        size: Examples in the easiest and the hardest subset that are marked and compared.
    """
    values, labels = scores.mean, images.labels.cpu().numpy()
    ends = {f"easiest {size}": "easiest", f"hardest {size}": "hardest"}
    subsets = {label: choose_subset(scores, kind, size) for label, kind in ends.items()}
    distribution = score_figure(values, labels, images.class_names, subsets=subsets, score_name=name)
    return {"distribution": distribution} | _stability_and_sheet(scores, images, name, size)


def _stability_and_sheet(scores: Scores, images: Images, name: str, size: int) -> dict[str, Figure]:
    figures, stability = dict[str, Figure](), stability_rows(scores, size)
    if stability:
        table = pd.DataFrame([asdict(row) for row in stability])
        title = f"{name}: agreement with all {len(scores.matrix)} models"
        figures["stability"] = rank_stability_figure(table, size=size, title=title)
    if _can_be_shown(images):
        pixels, labels = images.pixels.cpu().numpy(), images.labels.cpu().numpy()
        figures["sheet"] = image_sheet(pixels, labels, scores.mean, images.class_names, score_name=name)
    return figures


def diet_figures(plan: Plan, store: Results) -> dict[str, Figure]:
    """Draw every finished score of a study with what the arms are fed, replicate 0.

    Returns:
        File stem -> figure: for each score ``diet_NAME``, its distribution and class shares with the subset of each
        arm, and ``stability_NAME`` and ``sheet_NAME`` as :func:`score_figures` draws them.
    """
    stages = {name: stage for name, stage in score_stages(plan, replicate=0).items() if store.has(stage.address)}
    if not stages:
        return {}
    images, figures = training_images(plan), dict[str, Figure]()
    labels, fed = images.labels.cpu().numpy(), _fed(plan, store)
    for name, stage in stages.items():
        scores = stored_scores(plan, store, stage, name)
        if scores.fingerprint != images.fingerprint:
            continue  # of the data set that an arm pre-trains on instead
        drawn = _stability_and_sheet(scores, images, name, max(1, len(images) // 10))
        subsets = {arm: indices for arm, indices in fed.items() if plan.study.arms[arm].pretrain.subset.score == name}
        others = {arm: indices for arm, indices in fed.items() if plan.study.arms[arm].pretrain.subset.score is None}
        subsets = dict(itertools.islice((others | subsets if len(fed) <= MOST_DIETS else subsets).items(), MOST_DIETS))
        whose = ", replicate 0" if plan.study.scores[name].per_replicate else ""
        title = f"{plan.study.study}: {name}{whose}, and what the arms are fed"
        diet = score_figure(
            scores.mean, labels, images.class_names, subsets=subsets or None, score_name=name, title=title
        )
        figures |= {f"diet_{name}": diet} | {f"{stem}_{name}": figure for stem, figure in drawn.items()}
    return figures


def _fed(plan: Plan, store: Results) -> dict[str, np.ndarray]:
    """Subset by arm of those that pre-train on part of the study's own data, in the order of the study."""
    found = {
        use.arm: store.tensors(stage.inputs["subset"], "subset")["indices"].numpy()
        for stage in plan.stages.values()
        if stage.kind == "pretrain" and stage.dataset == plan.study.dataset
        if "subset" in stage.inputs and store.has(stage.inputs["subset"])
        for use in stage.uses
        if use.replicate == 0
    }
    return {arm: found[arm] for arm in plan.study.arms if arm in found}


def subset_figures(subset: ChosenSubset) -> dict[str, Figure]:
    """Draw a subset: ``distribution`` of its scores, if there are any, and a ``sheet`` of its images."""
    figures: dict[str, Figure] = {}
    images = subset.images
    if subset.scores is not None:
        figures["distribution"] = score_figure(
            subset.scores.mean,
            images.labels.cpu().numpy(),
            images.class_names,
            subsets={subset.arm: subset.indices},
            score_name=subset.score_name,
            title=f"{subset.arm}: {len(subset.indices)} of {len(images)} examples",
        )
    if _can_be_shown(images):
        figures["sheet"] = sample_sheet(images.take(subset.indices))
        title = f"{subset.arm}: some of each class"
        figures["sheet"].suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figures


def save_all(figures: Mapping[str, Figure], folder: Path, prefix: str) -> list[Path]:
    """Write figures as PNG and SVG under ``prefix_stem``; returns the paths."""
    return [path for stem, figure in figures.items() for path in save_figure(figure, folder / f"{prefix}_{stem}")]


def _can_be_shown(images: Images) -> bool:
    shape: Sequence[int] = images.pixels.shape
    return len(shape) == 4 and shape[1] in (1, 3) and not images.pixels.is_floating_point()
