"""The figures of a study: which of them its results allow, and the arrays they need."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.reports.diet_figures import diet_figures
from ticketdiet.reports.diet_report import score_stages
from ticketdiet.reports.families import FamilyResult, pretrained_on, read_families
from ticketdiet.reports.figures import accuracy_figure, pretraining_figure
from ticketdiet.reports.landscape_figures import (
    alpha_figure,
    barrier_against_score,
    barrier_histogram,
    connected_share_figure,
    prediction_figure,
)
from ticketdiet.reports.rows import final_rows
from ticketdiet.reports.table import format_density
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.planner import Plan

FAMILY = "family"
# Running statistics lag far behind after a few steps, and would decide the number.
RECALIBRATED = "accuracy_recalibrated"
FEWEST_POINTS_TO_PREDICT = 3


def study_figures(plan: Plan, store: ResultStore, rows: pd.DataFrame) -> dict[str, Figure]:
    """Draw every figure that the finished results of a study allow.

    Args:
        plan: The study's stages.
        store: Where their results are.
        rows: Its tidy rows.

    Returns:
        File stem -> figure: always ``accuracy``; for every score ``diet_NAME``, ``stability_NAME`` and ``sheet_NAME``
        (:func:`~ticketdiet.reports.diet_figures.diet_figures`); ``pretraining`` where it was evaluated along the way;
        with children also ``barrier_alpha``, ``barrier_histogram``, ``connected_share``, ``barrier_against_NAME`` for
        every score, and ``prediction``, ``prediction_connected`` and ``prediction_pretraining``.
    """
    name = plan.study.study
    figures = {"accuracy": accuracy_figure(rows, title=f"{name}: test accuracy of sparse networks")}
    figures |= diet_figures(plan, store) | _pretraining(name, rows)
    families = read_families(plan, store)
    if families:
        figures |= _family_figures(plan, families)
        figures |= _score_figures(plan, store, families)
        figures |= _prediction(name, rows, plan.study.measure.predict_level)
    return figures


def _pretraining(name: str, rows: pd.DataFrame) -> dict[str, Figure]:
    along = rows[(rows["kind"] == "pretrain") & (rows["metric"] == RECALIBRATED)]
    along = along[along.groupby("arm")["step"].transform("nunique") > 1]
    return {} if along.empty else {"pretraining": pretraining_figure(along, title=f"{name}: accuracy in pre-training")}


def _by_arm(families: list[FamilyResult], split: str, what: str) -> dict[str, np.ndarray]:
    arms = dict.fromkeys(family.arm for family in families)
    return {arm: np.concatenate([f.stack(split, what) for f in families if f.arm == arm]) for arm in arms}


def _family_figures(plan: Plan, families: list[FamilyResult]) -> dict[str, Figure]:
    name, tolerance = plan.study.study, plan.study.measure.tolerance
    alphas = families[0].arrays["alphas"].numpy()
    return {
        "barrier_alpha": alpha_figure(
            alphas,
            _by_arm(families, "train", "loss"),
            _by_arm(families, "train", "error"),
            title=f"{name}: along the line between dense children, train",
        ),
        "barrier_histogram": barrier_histogram(
            _by_arm(families, "train", "per_example"),
            tolerance=tolerance,
            title=f"{name}: barriers of single training examples",
        ),
        "connected_share": connected_share_figure(
            _shares(plan, families), tolerance=tolerance, title=f"{name}: connected training examples over pre-training"
        ),
    }


def _shares(plan: Plan, families: list[FamilyResult]) -> pd.DataFrame:
    """Connected share of each family; those without pre-training begin the line of every other kind."""
    tolerance = plan.study.measure.tolerance
    kinds = {family.arm: pretrained_on(plan, family.arm) for family in families}
    others = list(dict.fromkeys(kinds[f.arm] for f in families if f.pretrain_steps)) or ["no pre-training"]
    rows = [
        {"arm": kind, "pretrain_steps": f.pretrain_steps, "value": float(np.mean(f.per_example("train") <= tolerance))}
        for f in families
        for kind in ([kinds[f.arm]] if f.pretrain_steps else others)
    ]
    return pd.DataFrame(rows)


def _score_figures(plan: Plan, store: ResultStore, families: list[FamilyResult]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name, stage in score_stages(plan, replicate=0).items():
        if stage.spec["kind"] != "barrier" and store.has(stage.address):
            scores = store.tensors(stage.address, "scores")["matrix"].double().mean(0).numpy()
            own = plan.study.scores[name].per_replicate  # a replicate's score says nothing of the others' families
            beside = [family for family in families if family.replicate == 0] if own else families
            if beside and np.isfinite(scores).any():
                figures[f"barrier_against_{name}"] = _against(plan, name, scores, beside)
    return figures


def _against(plan: Plan, name: str, scores: np.ndarray, families: list[FamilyResult]) -> Figure:
    """Draw barrier against a score, for the arm whose examples differ most in being connected."""
    tolerance, score = plan.study.measure.tolerance, plan.study.scores[name]

    def undecided(family: FamilyResult) -> float:
        share = float(np.mean(family.per_example("train") <= tolerance))
        return abs(share - 0.5)

    chosen, kind = min(families, key=undecided), score.kind.upper()
    own = [family.per_example("train") for family in families if family.arm == chosen.arm]
    whose = ", replicate 0" if score.per_replicate else ""
    title = f"{plan.study.study}: barrier against {kind}, arm {chosen.arm}{whose}"
    return barrier_against_score(np.stack(own), scores, score_name=kind, tolerance=tolerance, title=title)


def _prediction(name: str, rows: pd.DataFrame, level: int | None) -> dict[str, Figure]:
    """Draw what is known at each rewinding point against the accuracy at ``level``, or at the sparsest."""
    accuracy = final_rows(rows)
    sparse = accuracy[accuracy["level"] == (accuracy["level"].max() if level is None else level)]
    family = rows[(rows["split"] == "train") & (rows["pair"] == FAMILY) & (rows["level"] == 0)]
    pretrained = rows[(rows["kind"] == "pretrain") & (rows["split"] == "test") & (rows["metric"] == RECALIBRATED)]
    pretrained = pretrained.sort_values("step", kind="stable").drop_duplicates(["arm", "replicate"], keep="last")
    tolerance = family["tolerance"].max()
    known = {
        "prediction": (family[family["metric"] == "barrier_mean"], 1, "mean barrier of dense children, train (nats)"),
        "prediction_connected": (
            family[family["metric"] == "connected_share"],
            100,
            f"training examples connected within {tolerance:g} nats (%)",
        ),
        "prediction_pretraining": (pretrained, 100, "test accuracy at the rewinding point, BatchNorm recalibrated (%)"),
    }
    figures = {stem: _predict(name, found, scale, label, sparse) for stem, (found, scale, label) in known.items()}
    return {stem: figure for stem, figure in figures.items() if figure is not None}


def _predict(name: str, known: pd.DataFrame, scale: float, label: str, sparse: pd.DataFrame) -> Figure | None:
    points = known.merge(sparse, on=["arm", "replicate"], suffixes=("_x", "_y"))
    points = points.rename(columns={"value_x": "x", "value_y": "y"})[["arm", "x", "y"]]
    if len(points) < FEWEST_POINTS_TO_PREDICT or points["x"].nunique() == 1 or points["y"].nunique() == 1:
        return None
    points["x"] *= scale
    points["y"] *= 100
    return prediction_figure(
        points,
        x_label=label,
        y_label=f"test accuracy at density {format_density(float(sparse['density'].mean()))} (%)",
        title=f"{name}: what predicts sparse accuracy?",
    )
