"""The figures of a study that this package registers: which of them its results allow, and the arrays they need."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ticketdiet.reports.diet_report import score_stages
from ticketdiet.reports.families import FamilyResult, pretrained_on
from ticketdiet.reports.figure_registry import FIGURES
from ticketdiet.reports.figures import accuracy_figure, pretraining_figure
from ticketdiet.reports.landscape_figures import (
    alpha_figure,
    barrier_against_score,
    barrier_histogram,
    connected_fraction_figure,
    prediction_figure,
)
from ticketdiet.reports.prediction import FEWEST_POINTS
from ticketdiet.reports.published import curves_of
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.rows import FAMILY, final_rows
from ticketdiet.reports.table import format_density
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stages.pretrain import Pretrain

# Running statistics lag far behind after a few steps, and would decide the number.
RECALIBRATED = "accuracy_recalibrated"


@FIGURES.register("accuracy")
def accuracy(found: StudyResults) -> dict[str, Figure]:
    """Test accuracy by density, one line per arm, and the published curves of the same arms."""
    title = f"{found.name}: test accuracy of sparse networks"
    return {"": accuracy_figure(found.rows, title=title, published=curves_of(found.plan.study))}


@FIGURES.register("pretraining")
def pretraining(found: StudyResults) -> dict[str, Figure]:
    """Accuracy along pre-training, where it was evaluated along the way."""
    along = found.rows[(found.rows["kind"] == "pretrain") & (found.rows["metric"] == RECALIBRATED)]
    along = along[along.groupby("arm")["step"].transform("nunique") > 1]
    return {} if along.empty else {"": pretraining_figure(along, title=f"{found.name}: accuracy in pre-training")}


@FIGURES.register("barrier_alpha")
def barrier_alpha(found: StudyResults) -> dict[str, Figure]:
    """Loss and error along the lines between dense children."""
    families = found.families
    if not families:
        return {}
    figure = alpha_figure(
        families[0].arrays["alphas"].numpy(),
        _by_arm(families, "train", "loss"),
        _by_arm(families, "train", "error"),
        title=f"{found.name}: along the line between dense children, train",
    )
    return {"": figure}


@FIGURES.register("barrier_histogram")
def barriers_of_examples(found: StudyResults) -> dict[str, Figure]:
    """Distribution of the barriers of single training examples."""
    if not found.families:
        return {}
    title = f"{found.name}: barriers of single training examples"
    return {"": barrier_histogram(_barriers_by_arm(found.families), tolerance=found.tolerance, title=title)}


@FIGURES.register("connected_fraction")
def connected_over_pretraining(found: StudyResults) -> dict[str, Figure]:
    """Fraction of the training examples that are connected, over the steps of pre-training."""
    if not found.families:
        return {}
    fractions, title = (
        _connected_fractions(found.plan, found.families),
        f"{found.name}: connected training examples over pre-training",
    )
    return {"": connected_fraction_figure(fractions, tolerance=found.tolerance, title=title)}


def _by_arm(families: list[FamilyResult], split: str, what: str) -> dict[str, np.ndarray]:
    arms = dict.fromkeys(family.arm for family in families)
    return {arm: np.concatenate([f.stack(split, what) for f in families if f.arm == arm]) for arm in arms}


def _barriers_by_arm(families: list[FamilyResult]) -> dict[str, np.ndarray]:
    """Arm -> (families, n): the barrier of each training example, averaged over the pairs of its family."""
    arms = dict.fromkeys(family.arm for family in families)
    return {arm: np.stack([f.per_example("train") for f in families if f.arm == arm]) for arm in arms}


def _connected_fractions(plan: Plan, families: list[FamilyResult]) -> pd.DataFrame:
    """Connected fraction of each family; those without pre-training begin the line of every other kind."""
    tolerance = plan.study.measure.tolerance
    kinds = {family.arm: pretrained_on(plan, family.arm) for family in families}
    others = list(dict.fromkeys(kinds[f.arm] for f in families if f.pretrain_steps)) or ["no pre-training"]
    rows = [
        {"arm": kind, "pretrain_steps": f.pretrain_steps, "value": float(np.mean(f.per_example("train") <= tolerance))}
        for f in families
        for kind in ([kinds[f.arm]] if f.pretrain_steps else others)
    ]
    return pd.DataFrame(rows)


@FIGURES.register("barrier_against")
def barrier_against(found: StudyResults) -> dict[str, Figure]:
    """Barrier of every training example against each score."""
    figures: dict[str, Figure] = {}
    plan, store = found.plan, found.store
    for name, stage in score_stages(plan, replicate=0).items():
        if stage.score != "barrier" and store.has(stage.address):
            scores = store.tensors(stage.address, "scores")["matrix"].double().mean(0).numpy()
            own = plan.study.scores[name].per_replicate  # a replicate's score says nothing of the others' families
            beside = [family for family in found.families if family.replicate == 0] if own else found.families
            if beside and np.isfinite(scores).any():
                figures[name] = _against(plan, name, scores, beside)
    return figures


def _against(plan: Plan, name: str, scores: np.ndarray, families: list[FamilyResult]) -> Figure:
    """Draw barrier against a score, for the arm whose examples differ most in being connected."""
    tolerance, score = plan.study.measure.tolerance, plan.study.scores[name]

    def undecided(family: FamilyResult) -> float:
        connected = float(np.mean(family.per_example("train") <= tolerance))
        return abs(connected - 0.5)

    chosen, kind = min(families, key=undecided), score.kind.upper()
    own = [family.per_example("train") for family in families if family.arm == chosen.arm]
    whose = ", replicate 0" if score.per_replicate else ""
    title = f"{plan.study.study}: barrier against {kind}, arm {chosen.arm}{whose}"
    return barrier_against_score(np.stack(own), scores, score_name=kind, tolerance=tolerance, title=title)


@FIGURES.register("prediction")
def prediction(found: StudyResults) -> dict[str, Figure]:
    """What is known at each rewinding point against the accuracy at a level, by default the sparsest."""
    if not found.families:
        return {}
    points, density = prediction_points(found.plan, found.rows)
    known = {
        "": ("barrier_mean", 1, "mean barrier of dense children, train (nats)"),
        "connected": ("connected_fraction", 100, f"training examples connected within {found.tolerance:g} nats (%)"),
        "pretraining": (RECALIBRATED, 100, "test accuracy at the rewinding point, BatchNorm recalibrated (%)"),
    }
    figures: dict[str, Figure] = {}
    for suffix, (column, scale, label) in known.items():
        drawn = points.dropna(subset=[column, "sparse"])
        if len(drawn) < FEWEST_POINTS or drawn[column].nunique() == 1 or drawn["sparse"].nunique() == 1:
            continue
        drawn = drawn.assign(x=scale * drawn[column], y=100 * drawn["sparse"], rival=drawn[RECALIBRATED])
        has_rival = column != RECALIBRATED and drawn["rival"].notna().all() and drawn["rival"].nunique() > 1
        figures[suffix] = prediction_figure(
            drawn,
            x_label=label,
            y_label=f"test accuracy at density {format_density(density)} (%)",
            title=f"{found.name}: what predicts sparse accuracy?",
            rival="accuracy at the rewinding point" if has_rival else "",
        )
    return figures


def prediction_points(plan: Plan, rows: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Collect what predicts and what is predicted, once for each rewinding point.

    Arms whose sparse training is a control, or restarts from anything but the rewinding point, are left out: they would
    count a point again, with an accuracy that is not of its ticket. When several other arms have a point in common, the
    first of the study is taken.

    Returns:
        Columns ``arm replicate address`` (of the rewinding point), ``barrier_mean``, ``connected_fraction``,
        ``accuracy_recalibrated`` and ``sparse``, NaN where not measured; and the density of ``sparse``.
    """
    arms = {n: arm for n, arm in plan.study.arms.items() if not arm.ticket.is_control}
    arms = {name: arm for name, arm in arms.items() if arm.ticket.restart == "weights"}
    points = pd.DataFrame(
        [
            {"arm": use.arm, "replicate": use.replicate, "address": stage.address}
            for stage in plan.of(Pretrain)
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
        "connected_fraction": family[family["metric"] == "connected_fraction"],
        RECALIBRATED: pretrained.sort_values("step", kind="stable"),
        "sparse": sparse,
    }
    for name, measured in found.items():
        values = measured.drop_duplicates(["arm", "replicate"], keep="last")[["arm", "replicate", "value"]]
        points = points.merge(values.rename(columns={"value": name}), on=["arm", "replicate"], how="left")
    return points, float(sparse["density"].mean())
