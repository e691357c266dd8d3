"""What a study's scores and subsets hold, read from its store: tables, and a file to take elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.core.extras import import_extra
from ticketdiet.core.values import Images, Scores
from ticketdiet.data.subsets import choose_subset
from ticketdiet.reports.completeness import Results
from ticketdiet.reports.images import labelled_images
from ticketdiet.reports.writing import check_suffix
from ticketdiet.scores.files import export_scores, save_scores
from ticketdiet.scores.stability import StabilityRow, rank_stability
from ticketdiet.store.layout import damaged
from ticketdiet.studies.datasets import kept_of
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.stages.subset import Subset

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
STABILITY_DRAWS = 8
EXPORT_ENDINGS = (".csv", ".parquet", ".npy", ".npz")


@dataclass(frozen=True)
class ClassRow:
    """One class under a score.

    Attributes:
        name: Name of the class.
        examples: How many the training set has.
        mean: Mean score of those that are finite; NaN without any.
        infinite: How many are +inf.
        easiest: Fraction of the easiest examples that are of this class, in [0, 1].
        hardest: Fraction of the hardest examples, likewise.
    """

    name: str
    examples: int
    mean: float
    infinite: int
    easiest: float
    hardest: float


@dataclass(frozen=True, eq=False)
class ChosenSubset:
    """What the pre-training of an arm sees.

    Attributes:
        arm: Name of the arm.
        dataset: Data set that it is chosen from.
        images: Its training images, with the labels as they came; without pixels where only labels are recorded.
        indices: int64 (size,), ascending, in the order of these images.
        scores: What it was chosen by; otherwise a score that the study has anyway, or None.
        score_name: Name of the score in the study, or empty.
    """

    arm: str
    dataset: DatasetSpec
    images: Images
    indices: np.ndarray
    scores: Scores | None
    score_name: str


def read_scores(plan: Plan, store: Results, name: str, replicate: int = 0) -> Scores:
    """Read the score that a study calls ``name``.

    Args:
        plan: The study's stages.
        store: Where their results are.
        name: Name of the score.
        replicate: Whose score it is, where the study has one for each replicate.

    Returns:
        The score of every network, in the order of the training set.

    Raises:
        UnknownName: When the study has none of that name.
        UserError: For a replicate that it does not have, or when no arm needs the score or it is not finished yet.
        DamagedResult: When it does not match its checksums.
    """
    check_known("score", name, plan.study.scores)
    _check_replicate(plan, replicate)
    stage = score_stages(plan, replicate).get(name)
    if stage is None:
        raise UserError(
            f"The score {name!r} is declared in {plan.study.study}, but no arm chooses its subset by it.",
            expected="a score that the study computes",
            way_out=f"give an arm pretrain.subset.score: {name}, and pretrain.steps above 0",
        )
    return stored_scores(plan, store, stage, name)


def score_stages(plan: Plan, replicate: int) -> dict[str, Score]:
    """Return the stages of the scores that a replicate uses, its own and those that all share, by name of the score."""
    return {use.arm: stage for stage in plan.of(Score) for use in stage.uses if use.replicate in (-1, replicate)}


def _check_replicate(plan: Plan, replicate: int) -> None:
    if not 0 <= replicate < plan.study.replicates:
        raise UserError(
            f"Got replicate {replicate} of {plan.study.replicates}.",
            expected=f"an integer from 0 to {plan.study.replicates - 1}",
            way_out="--replicate 0",
        )


def stored_scores(plan: Plan, store: Results, stage: Score, name: str) -> Scores:
    """Read the score of a finished stage, one of whose names in the study is ``name``."""
    require(plan, store, stage, f"The score {name!r}")
    matrix = store.tensors(stage.address, "scores")["matrix"].numpy()
    made = plan.stages[stage.model[0]]
    recipe: dict[str, object] = {"study": plan.study.study, "address": stage.address, "made": dict(made.identity)}
    if stage.permuted is not None:
        recipe["permuted"] = stage.permuted
    if plan.study.scores[name].per_replicate:
        recipe["replicate"] = next(use.replicate for use in stage.uses if use.arm == name)
    return Scores(matrix, stage.score, stage.data["train"], recipe)


def read_subset(plan: Plan, store: Results, arm: str, replicate: int = 0) -> ChosenSubset:
    """Return which examples the pre-training of an arm sees.

    Raises:
        UnknownName: When the study has no such arm.
        UserError: For a replicate that it does not have, an arm without pre-training, or a subset not chosen yet.
    """
    study = plan.study
    check_known("arm", arm, study.arms)
    _check_replicate(plan, replicate)
    points = {use.arm: point for point in plan.of(Pretrain) for use in point.uses}
    if not points[arm].steps:
        raise UserError(
            f"The arm {arm!r} is not pre-trained, so it has no subset.",
            expected="an arm with pretrain.steps above 0",
            way_out=f"choose one of: {', '.join(name for name in points if points[name].steps) or '(none)'}",
        )
    point = next(point for point in plan.of(Pretrain) if _used(point, arm, replicate))
    images = labelled_images(plan, dataset=point.dataset)
    if point.subset is None:
        return ChosenSubset(
            arm, point.dataset, images, np.arange(len(images)), *_scores_at_hand(plan, store, images, replicate)
        )
    stage = plan.stages[point.subset]
    assert isinstance(stage, Subset)
    require(plan, store, stage, f"The subset of arm {arm!r}")
    indices = store.tensors(stage.address, "subset")["indices"].numpy()
    if stage.score is None:
        return ChosenSubset(arm, point.dataset, images, indices, *_scores_at_hand(plan, store, images, replicate))
    by = plan.stages[stage.score]
    assert isinstance(by, Score)
    name = study.arms[arm].pretrain.subset.score or by.uses[0].arm
    return ChosenSubset(arm, point.dataset, images, indices, stored_scores(plan, store, by, name), name)


def _scores_at_hand(plan: Plan, store: Results, images: Images, replicate: int) -> tuple[Scores | None, str]:
    for name, stage in score_stages(plan, replicate).items():
        if stage.data["train"] == images.fingerprint and store.has(stage.address):
            return stored_scores(plan, store, stage, name), name
    return None, ""


def _used(stage: Stage, arm: str, replicate: int) -> bool:
    return any(use.arm == arm and use.replicate == replicate for use in stage.uses)


def require(plan: Plan, store: Results, stage: Stage, what: str) -> None:
    """Refuse a stage whose result cannot be read; ``what`` names it at the beginning of a sentence.

    Raises:
        UserError: When it is not finished yet.
        DamagedResult: When it does not match its checksums.
    """
    status = store.check(stage.address)
    if status.state == "damaged":
        error = damaged(stage.address, f"{what}: {status.reason}", store.url)
        raise error
    if status.state == "missing":
        raise UserError(
            f"{what} of {plan.study.study} is not in {store.url} yet.",
            expected=f"the finished result {stage.address}",
            way_out=f"`ticketdiet run {plan.study.study} --store {store.url}`, with the same --set",
        )


def require_trained(
    plan: Plan, store: Results, arm: str, replicate: int = 0, level: int | None = None
) -> MaskedTraining:
    """Return the stage that trained the network of an arm, the sparsest unless a level is named.

    Raises:
        UserError: When it has no such replicate or level, or the network is not trained yet.
        DamagedResult: When it does not match its checksums.
    """
    found = plan.reported(arm, replicate)
    wanted = max(found, default=0) if level is None else level
    if wanted not in found:
        raise UserError(
            f"The arm {arm!r} of {plan.study.study} has no level {wanted} of replicate {replicate}.",
            expected=f"a replicate below {plan.study.replicates}, and a level up to {max(found, default=0)}",
            way_out="choose one of these, or raise replicates or pruning.levels and run the study",
        )
    require(plan, store, found[wanted], f"The result {found[wanted].label}")
    return found[wanted]


def quantiles(values: np.ndarray) -> tuple[float, ...]:
    """Scores at ``QUANTILES``, each the score of some example: +inf is never interpolated."""
    return tuple(np.quantile(values, QUANTILES, method="lower").tolist())


def class_rows(scores: Scores, images: Images, size: int) -> tuple[ClassRow, ...]:
    """Say how hard each class is, and its fraction of the ``size`` easiest and hardest examples."""
    labels, values = images.labels.cpu().numpy(), scores.mean
    fractions = [_fractions(choose_subset(scores, kind, size), labels, images) for kind in ("easiest", "hardest")]
    rows = []
    for number, name in enumerate(images.class_names):
        own = values[labels == number]
        finite = own[np.isfinite(own)]
        mean = float(finite.mean()) if len(finite) else float("nan")
        rows.append(ClassRow(name, len(own), mean, len(own) - len(finite), *(found[number] for found in fractions)))
    return tuple(rows)


def _fractions(indices: np.ndarray, labels: np.ndarray, images: Images) -> list[float]:
    fractions: list[float] = (np.bincount(labels[indices], minlength=images.num_classes) / len(indices)).tolist()
    return fractions


def stability_rows(scores: Scores, size: int) -> tuple[StabilityRow, ...]:
    """Return how the ranking by m networks agrees with that by all, one row per m and draw; empty for a single network.

    Table and figure are made from these same rows.
    """
    if len(scores.matrix) < 2:
        return ()
    return tuple(
        row for draw in range(STABILITY_DRAWS) for row in rank_stability(scores, size=size, draws=1, seed=draw)
    )


def stability_summary(scores: Scores, size: int) -> tuple[StabilityRow, ...]:
    """Mean of ``stability_rows`` over the draws, one row per m."""
    rows = stability_rows(scores, size)
    return tuple(_mean_row([row for row in rows if row.models == m]) for m in sorted({row.models for row in rows}))


def _mean_row(draws: Sequence[StabilityRow]) -> StabilityRow:
    apart = [row.held_out_spearman for row in draws if row.held_out_spearman is not None]
    return replace(
        draws[0],
        spearman=float(np.mean([row.spearman for row in draws])),
        overlap=float(np.mean([row.overlap for row in draws])),
        held_out_spearman=float(np.mean(apart)) if apart else None,
    )


def check_export(path: Path, original_order: bool = False) -> None:
    """Refuse a file name that does not say its format, or a format that does not fit.

    Raises:
        UserError: When it ends in none of ``EXPORT_ENDINGS``, or in ``.npz`` with the original order, which the
            fingerprint of the scored images would contradict.
    """
    check_suffix(path, EXPORT_ENDINGS)
    if original_order and path.suffix.lower() == ".npz":
        raise UserError(
            f"Got {path} for the original order of the data set.",
            expected="a name that ends in .npy, .csv or .parquet: .npz carries the fingerprint of the scored images",
            way_out="choose another ending, or leave --original-order out",
        )


def export(path: Path, scores: Scores, images: Images, dataset: DatasetSpec | None = None) -> None:
    """Write scores in the order of their images: a table, an array, or ``.npz`` with fingerprint and provenance.

    Args:
        path: The file, by whose ending the format is chosen.
        scores: What to write.
        images: The images that were scored.
        dataset: The data set to whose own order the scores are brought back, NaN for examples that it leaves out; None
            for the order of the images.

    Raises:
        UserError: For another ending, when it cannot be written, or when pyarrow is not installed for Parquet.
    """
    check_export(path, dataset is not None)
    if path.suffix.lower() == ".npz":
        save_scores(path, scores)
        return
    if path.suffix.lower() == ".parquet":
        import_extra("pyarrow", "parquet", other="write .csv or .npz")
    kept = None if dataset is None else kept_of(dataset)
    if kept is None:
        export_scores(path, scores, images.labels.cpu().numpy())
    else:
        export_scores(path, replace(scores, matrix=kept.spread(scores.matrix)))
