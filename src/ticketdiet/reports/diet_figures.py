"""Pictures of scores and subsets: of one of them, and of all that a study has."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images, Scores
from ticketdiet.data.subsets import choose_subset
from ticketdiet.reports.completeness import Results
from ticketdiet.reports.diet_report import (
    ChosenSubset,
    score_stages,
    stability_rows,
    stored_scores,
)
from ticketdiet.reports.figure_registry import FIGURES
from ticketdiet.reports.images import labelled_images
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.score_figures import image_sheet, rank_stability_figure, score_figure
from ticketdiet.reports.sheet import sample_sheet
from ticketdiet.studies.datasets import can_be_shown
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score import Score

MOST_DIETS = 6  # more lines over one distribution cannot be told apart


@dataclass(frozen=True, eq=False)
class Shown:
    """Small pictures of some examples, as a score's result keeps them.

    Attributes:
        indices: int64 (shown,), ascending.
        pixels: uint8 (shown, 1 or 3, height, width).
    """

    indices: np.ndarray
    pixels: np.ndarray


def read_shown(store: Results, stage: Score) -> Shown | None:
    """Read the pictures of the easiest and hardest examples of a score, None where its images cannot be shown."""
    try:
        found = store.tensors(stage.address, "shown")
    except UserError:
        return None
    return Shown(found["indices"].numpy(), found["pixels"].numpy())


def score_figures(scores: Scores, images: Images, shown: Shown | None, name: str, size: int) -> dict[str, Figure]:
    """Draw a score: ``distribution``, ``stability`` over two networks or more, and ``sheet`` where images can be shown.

    Args:
        scores: What to draw.
        images: The training images it belongs to; only their labels are looked at.
        shown: Pictures of its easiest and hardest examples, or None.
        name: What to call it.
        size: Examples in the easiest and the hardest subset that are marked and compared.

    Returns:
        Figures by suffix of their names.
    """
    values, labels = scores.mean, images.labels.cpu().numpy()
    ends = {f"easiest {size}": "easiest", f"hardest {size}": "hardest"}
    subsets = {label: choose_subset(scores, kind, size) for label, kind in ends.items()}
    distribution = score_figure(values, labels, images.class_names, subsets=subsets, score_name=name)
    figures = {"distribution": distribution}
    stability = stability_figure(scores, name, size)
    if stability is not None:
        figures["stability"] = stability
    if shown is not None:
        figures["sheet"] = sheet_figure(scores, images, shown, name)
    return figures


def stability_figure(scores: Scores, name: str, size: int) -> Figure | None:
    """Draw the agreement of fewer models with all; None for a score of one model."""
    rows = stability_rows(scores, size)
    if not rows:
        return None
    title = f"{name}: agreement with all {len(scores.matrix)} models"
    return rank_stability_figure(pd.DataFrame([asdict(row) for row in rows]), size=size, title=title)


def sheet_figure(scores: Scores, images: Images, shown: Shown, name: str) -> Figure:
    """Draw the easiest and the hardest images of every class."""
    labels, values = images.labels.cpu().numpy()[shown.indices], scores.mean[shown.indices]
    return image_sheet(shown.pixels, labels, values, images.class_names, score_name=name)


@FIGURES.register("diet")
def diets(found: StudyResults) -> dict[str, Figure]:
    """Distribution and class fractions of every finished score, with what each arm is fed; replicate 0."""
    plan, fed = found.plan, _fed(found.plan, found.store)
    figures: dict[str, Figure] = {}
    for name, scores in _own_scores(found).items():
        images, arms = labelled_images(plan), plan.study.arms
        subsets = {arm: indices for arm, indices in fed.items() if arms[arm].pretrain.subset.score == name}
        others = {arm: indices for arm, indices in fed.items() if arms[arm].pretrain.subset.score is None}
        subsets = dict(itertools.islice((others | subsets if len(fed) <= MOST_DIETS else subsets).items(), MOST_DIETS))
        whose = ", replicate 0" if plan.study.scores[name].per_replicate else ""
        figures[name] = score_figure(
            scores.mean,
            images.labels.cpu().numpy(),
            images.class_names,
            subsets=subsets or None,
            score_name=name,
            title=f"{found.name}: {name}{whose}, and what the arms are fed",
        )
    return figures


@FIGURES.register("stability")
def stabilities(found: StudyResults) -> dict[str, Figure]:
    """Agreement of fewer models with all, for every finished score of several models; replicate 0."""
    drawn = {name: stability_figure(scores, name, _tenth(scores)) for name, scores in _own_scores(found).items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


@FIGURES.register("sheet")
def sheets(found: StudyResults) -> dict[str, Figure]:
    """Easiest and hardest images of every class, for every finished score; replicate 0."""
    stages = score_stages(found.plan, replicate=0)
    shown = {name: read_shown(found.store, stages[name]) for name in _own_scores(found)}
    images = labelled_images(found.plan) if any(shown.values()) else None
    scores = _own_scores(found)
    return {
        name: sheet_figure(scores[name], images, pictures, name)
        for name, pictures in shown.items()
        if pictures is not None and images is not None
    }


def _own_scores(found: StudyResults) -> dict[str, Scores]:
    """Finished scores of the study's own images, not of a data set that an arm pre-trains on instead."""
    stages = score_stages(found.plan, replicate=0)
    own = found.plan.facts.get(found.plan.study.dataset)
    return {
        name: stored_scores(found.plan, found.store, stage, name)
        for name, stage in stages.items()
        if found.store.has(stage.address) and (own is None or stage.data["train"] == own.fingerprints["train"])
    }


def _tenth(scores: Scores) -> int:
    return max(1, len(scores) // 10)


def _fed(plan: Plan, store: Results) -> dict[str, np.ndarray]:
    """Subset by arm of those that pre-train on part of the study's own data, in the order of the study."""
    found = {
        use.arm: store.tensors(point.subset, "subset")["indices"].numpy()
        for point in plan.of(Pretrain)
        if point.dataset == plan.study.dataset and point.subset is not None and store.has(point.subset)
        for use in point.uses
        if use.replicate == 0
    }
    return {arm: found[arm] for arm in plan.study.arms if arm in found}


def subset_figures(subset: ChosenSubset, pixels: Images | None) -> dict[str, Figure]:
    """Draw a subset: ``distribution`` of its scores, if there are any, and a ``sheet`` of its images.

    Args:
        subset: What to draw.
        pixels: The images it is chosen from, with their pixels; None draws no sheet.

    Returns:
        Figures by suffix of their names.
    """
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
    if pixels is not None and can_be_shown(pixels):
        figures["sheet"] = sample_sheet(pixels.take(subset.indices))
        title = f"{subset.arm}: some of each class"
        figures["sheet"].suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figures
