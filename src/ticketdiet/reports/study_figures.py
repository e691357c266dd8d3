"""The figures of a study: which of them its results allow, and the arrays they need."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.landscape.prediction import FEWEST_POINTS
from ticketdiet.reports.completeness import Results
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
from ticketdiet.reports.rows import FAMILY, final_rows
from ticketdiet.reports.table import format_density
from ticketdiet.studies.planner import Plan

# Running statistics lag far behind after a few steps, and would decide the number.
RECALIBRATED = "accuracy_recalibrated"


def study_figures(plan: Plan, store: Results, rows: pd.DataFrame) -> dict[str, Figure]:
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
        figures |= _prediction(plan, rows)
    return figures


def _pretraining(name: str, rows: pd.DataFrame) -> dict[str, Figure]:
    along = rows[(rows["kind"] == "pretrain") & (rows["metric"] == RECALIBRATED)]
    along = along[along.groupby("arm")["step"].transform("nunique") > 1]
    return {} if along.empty else {"pretraining": pretraining_figure(along, title=f"{name}: accuracy in pre-training")}


def _by_arm(families: list[FamilyResult], split: str, what: str) -> dict[str, np.ndarray]:
    arms = dict.fromkeys(family.arm for family in families)
    return {arm: np.concatenate([f.stack(split, what) for f in families if f.arm == arm]) for arm in arms}


def _barriers_by_arm(families: list[FamilyResult]) -> dict[str, np.ndarray]:
    """Arm -> (families, n): the barrier of each training example, averaged over the pairs of its family."""
    arms = dict.fromkeys(family.arm for family in families)
    return {arm: np.stack([f.per_example("train") for f in families if f.arm == arm]) for arm in arms}


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
            _barriers_by_arm(families),
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


def _score_figures(plan: Plan, store: Results, families: list[FamilyResult]) -> dict[str, Figure]:
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


def _prediction(plan: Plan, rows: pd.DataFrame) -> dict[str, Figure]:
    """Draw what is known at each rewinding point against the accuracy at a level, by default the sparsest."""
    points, density = prediction_points(plan, rows)
    tolerance = f"{plan.study.measure.tolerance:g}"
    known = {
        "prediction": ("barrier_mean", 1, "mean barrier of dense children, train (nats)"),
        "prediction_connected": ("connected_share", 100, f"training examples connected within {tolerance} nats (%)"),
        "prediction_pretraining": (
            RECALIBRATED,
            100,
            "test accuracy at the rewinding point, BatchNorm recalibrated (%)",
        ),
    }
    figures: dict[str, Figure] = {}
    for stem, (column, scale, label) in known.items():
        drawn = points.dropna(subset=[column, "sparse"])
        if len(drawn) < FEWEST_POINTS or drawn[column].nunique() == 1 or drawn["sparse"].nunique() == 1:
            continue
        drawn = drawn.assign(x=scale * drawn[column], y=100 * drawn["sparse"], rival=drawn[RECALIBRATED])
        has_rival = column != RECALIBRATED and drawn["rival"].notna().all() and drawn["rival"].nunique() > 1
        figures[stem] = prediction_figure(
            drawn,
            x_label=label,
            y_label=f"test accuracy at density {format_density(density)} (%)",
            title=f"{plan.study.study}: what predicts sparse accuracy?",
            rival="accuracy at the rewinding point" if has_rival else "",
        )
    return figures


def prediction_points(plan: Plan, rows: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Collect what predicts and what is predicted, once for each rewinding point.

    Arms whose sparse training is a control, or restarts from anything but the rewinding point, are left out: they would
    count a point again, with an accuracy that is not of its ticket. When several other arms share a point, the first
    of the study stands for it.

    Returns:
        Columns ``arm replicate address`` (of the rewinding point), ``barrier_mean``, ``connected_share``,
        ``accuracy_recalibrated`` and ``sparse``, NaN where not measured; and the density of ``sparse``.
    """
    arms = {n: arm for n, arm in plan.study.arms.items() if not arm.ticket.is_control}
    arms = {name: arm for name, arm in arms.items() if arm.ticket.restart == "weights"}
    points = pd.DataFrame(
        [
            {"arm": use.arm, "replicate": use.replicate, "address": stage.address}
            for stage in plan.stages.values()
            if stage.kind == "pretrain"
            for use in stage.uses
            if use.arm in arms
        ],
        columns=["arm", "replicate", "address"],
    )
    points = points.sort_values("arm", key=lambda names: names.map(list(arms).index), kind="stable")
    points = points.drop_duplicates("address")
    accuracy, level = final_rows(rows), plan.study.measure.predict_level
    sparse = accuracy[accuracy["level"] == (accuracy["level"].max() if level is None else level)]
    family = rows[(rows["split"] == "train") & (rows["pair"] == FAMILY) & (rows["level"] == 0)]
    pretrained = rows[(rows["kind"] == "pretrain") & (rows["split"] == "test") & (rows["metric"] == RECALIBRATED)]
    found = {
        "barrier_mean": family[family["metric"] == "barrier_mean"],
        "connected_share": family[family["metric"] == "connected_share"],
        RECALIBRATED: pretrained.sort_values("step", kind="stable"),
        "sparse": sparse,
    }
    for name, measured in found.items():
        values = measured.drop_duplicates(["arm", "replicate"], keep="last")[["arm", "replicate", "value"]]
        points = points.merge(values.rename(columns={"value": name}), on=["arm", "replicate"], how="left")
    return points, float(sparse["density"].mean())
