"""Single examples of a study: scores beside barriers, and which examples are connected, as tidy rows. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.landscape.per_example import NEVER, ConnectedByGroup, connected_by_class, connected_by_quantile
from ticketdiet.landscape.per_example import first_connected as first_steps
from ticketdiet.landscape.tolerance import check_tolerance
from ticketdiet.reports.completeness import Results
from ticketdiet.reports.diet_report import score_stages
from ticketdiet.reports.families import FamilyResult, pretrained_on, read_families
from ticketdiet.reports.images import labelled_images
from ticketdiet.studies.plan import Plan


def example_rows(plan: Plan, store: Results, *, split: str = "train", tolerance: float | None = None) -> pd.DataFrame:
    """Return one row per example and dense family.

    Args:
        plan: The study's stages.
        store: Where their results are; unfinished ones are passed over.
        split: ``"train"``, ``"test"`` or ``"validation"``; only training examples have scores.
        tolerance: Barrier up to which an example is connected, nats; default the study's.

    Returns:
        Columns ``index label class``, the mean of every finished score under its name as ``score_NAME``, then ``arm
        replicate pretrain_steps barrier connected tolerance``. Scores are those of the family's replicate. Without
        children in the study, one row per example, with the scores of replicate 0.

    Raises:
        DataError: When the images are no longer those of the study.
        UnknownName: For a split that the study does not have.
    """
    images = labelled_images(plan, split)
    labels = images.labels.numpy()
    names = np.array(images.class_names, dtype=object)[labels]
    base = {"index": np.arange(len(images)), "label": labels, "class": names}
    within = _tolerance(plan, tolerance)
    families = read_families(plan, store)
    scored = dict.fromkeys({0, *(family.replicate for family in families)}, base)
    if split == "train":
        for replicate in scored:
            scores = read_scores(plan, store, replicate)
            scored[replicate] = base | {f"score_{name}": values for name, values in scores.items()}
    parts = [pd.DataFrame(scored[f.replicate] | _family_columns(f, split, within)) for f in families]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(scored[0])


def group_rows(
    plan: Plan,
    store: Results,
    by: Literal["quantile", "class"],
    *,
    score: str | None = None,
    quantiles: int = 10,
    tolerance: float | None = None,
) -> pd.DataFrame:
    """Return the connected fraction of training examples by quantile of a score, or by class, for every dense family.

    Args:
        plan: The study's stages.
        store: Where their results are.
        by: ``"quantile"`` (``q1`` holds the lowest scores) or ``"class"``.
        score: Name of the score; default every finished one.
        quantiles: Number of groups of equal size.
        tolerance: Barrier up to which an example is connected, nats; default the study's.

    Returns:
        Columns ``study arm replicate pretrain_steps by group count connected_fraction barrier_mean tolerance low
        high``; ``low`` and ``high`` are the group's lowest and highest score, missing for classes.

    Raises:
        UserError: When no family or score is finished.
        UnknownName: For a score that the study does not have.
    """
    families, within = _families(plan, store), _tolerance(plan, tolerance)
    makers = {
        replicate: _by_class(plan, within)
        if by == "class"
        else _by_quantile(plan, store, replicate, score, quantiles, within)
        for replicate in {family.replicate for family in families}
    }
    rows = [
        _who(plan, family) | {"by": label} | row
        for family in families
        for label, make in makers[family.replicate].items()
        for row in _rows_of(make(family.per_example("train")))
    ]
    return pd.DataFrame(rows)


def first_rows(plan: Plan, store: Results, *, tolerance: float | None = None) -> pd.DataFrame:
    """Return which examples are connected first: over the steps of arms that were pre-trained on the same.

    Args:
        plan: The study's stages.
        store: Where their results are.
        tolerance: Barrier up to which an example is connected, nats; default the study's.

    Returns:
        One row a step, replicate and kind of pre-training: columns ``study pretrained_on replicate pretrain_steps
        connected_fraction first_connected tolerance``, and ``first_NAME`` for every finished score. ``first_connected``
        is the fraction of the examples connected here and at no step before, ``first_NAME`` their mean score. A row
        with ``pretrain_steps`` missing is for examples that are never connected. Arms without pre-training are the
        first step of all the others.

    Raises:
        UserError: When no family is finished.
    """
    within = _tolerance(plan, tolerance)
    rows: list[dict[str, Any]] = []
    for (trained_on, replicate), along in _by_step(plan, _families(plan, store)).items():
        steps, scores = sorted(along), read_scores(plan, store, replicate)
        barriers = np.stack([along[step] for step in steps])
        first = first_steps(steps, barriers, tolerance=within)
        fractions = dict(zip(steps, (barriers <= within).mean(axis=1), strict=True))
        for step in (*steps, NEVER):
            here = first == step
            rows.append(
                {
                    "study": plan.study.study,
                    "pretrained_on": trained_on,
                    "replicate": replicate,
                    "pretrain_steps": None if step == NEVER else step,
                    "connected_fraction": fractions.get(step),
                    "first_connected": float(here.mean()),
                    "tolerance": within,
                }
                | {
                    f"first_{name}": float(values[here].mean()) if here.any() else None
                    for name, values in scores.items()
                }
            )
    return pd.DataFrame(rows).astype({"pretrain_steps": "Int64"})


def read_scores(plan: Plan, store: Results, replicate: int) -> dict[str, np.ndarray]:
    """Read the finished scores that a replicate uses: name to mean over models, float64 (n,), in the images' order."""
    return {
        name: store.tensors(stage.address, "scores")["matrix"].double().mean(0).numpy()
        for name, stage in score_stages(plan, replicate).items()
        if store.has(stage.address)
    }


def _family_columns(family: FamilyResult, split: str, tolerance: float) -> dict[str, Any]:
    barriers = family.per_example(split)
    return {
        "arm": family.arm,
        "replicate": family.replicate,
        "pretrain_steps": family.pretrain_steps,
        "barrier": barriers,
        "connected": barriers <= tolerance,
        "tolerance": tolerance,
    }


def _tolerance(plan: Plan, tolerance: float | None) -> float:
    return check_tolerance(plan.study.measure.tolerance if tolerance is None else tolerance)


def _families(plan: Plan, store: Results) -> list[FamilyResult]:
    families = read_families(plan, store)
    if not families:
        raise UserError(
            f"The store {store.url} has no dense family of {plan.study.study}.",
            expected="a study with children that was run",
            way_out="run the study on this store first: `ticketdiet run STUDY --set children=2`",
        )
    return families


_Maker = Callable[[np.ndarray], ConnectedByGroup]


def _by_class(plan: Plan, tolerance: float) -> dict[str, _Maker]:
    images = labelled_images(plan)
    labels, names = images.labels.numpy(), images.class_names
    return {"class": lambda barriers: connected_by_class(barriers, labels, names, tolerance=tolerance)}


def _by_quantile(
    plan: Plan, store: Results, replicate: int, score: str | None, quantiles: int, tolerance: float
) -> dict[str, _Maker]:
    scores = read_scores(plan, store, replicate)
    if not scores:
        raise UserError(
            f"The store {store.url} has no score of {plan.study.study}.",
            expected="a study with scores: that an arm uses, run on this store",
            way_out="declare one under scores:, use it in an arm's subset, and run the study",
        )
    if score is not None and score not in scores:
        raise UnknownName.of("finished score", score, scores)
    chosen = scores if score is None else {score: scores[score]}
    return {name: _quantile_maker(values, quantiles, tolerance) for name, values in chosen.items()}


def _quantile_maker(scores: np.ndarray, quantiles: int, tolerance: float) -> _Maker:
    return lambda barriers: connected_by_quantile(barriers, scores, quantiles=quantiles, tolerance=tolerance)


def _who(plan: Plan, family: FamilyResult) -> dict[str, Any]:
    return {
        "study": plan.study.study,
        "arm": family.arm,
        "replicate": family.replicate,
        "pretrain_steps": family.pretrain_steps,
    }


def _rows_of(found: ConnectedByGroup) -> list[dict[str, Any]]:
    bounds = found.bounds if found.bounds is not None else np.full((len(found.names), 2), np.nan)
    return [
        {
            "group": name,
            "count": int(found.counts[index]),
            "connected_fraction": float(found.fractions[index]),
            "barrier_mean": float(found.mean_barriers[index]),
            "tolerance": found.tolerance,
            "low": float(bounds[index, 0]),
            "high": float(bounds[index, 1]),
        }
        for index, name in enumerate(found.names)
    ]


def _by_step(plan: Plan, families: list[FamilyResult]) -> Mapping[tuple[str, int], dict[int, np.ndarray]]:
    """(what was pre-trained on, replicate) -> step -> barriers of the examples; step 0 belongs to all."""
    unstarted = {family.replicate: family for family in families if family.pretrain_steps == 0}
    along: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    for family in families:
        key = (pretrained_on(plan, family.arm), family.replicate)
        along.setdefault(key, {})[family.pretrain_steps] = family.per_example("train")
    for (name, replicate), steps in along.items():
        if name != "no pre-training" and replicate in unstarted:
            steps.setdefault(0, unstarted[replicate].per_example("train"))
    return along
