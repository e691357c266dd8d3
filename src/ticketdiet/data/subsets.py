"""The choice of a subset, with the same class balance, ties, nesting and checks for every kind.

The kinds themselves are in ``subset_rules``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.data.checks import (
    LabelsLike,
    ScoresLike,
    candidates,
    check_indices,
    check_labels,
    check_options,
    check_scores,
    check_seed,
    count_examples,
    size_of,
)
from ticketdiet.data.subset_rules import SUBSETS, Draws, Pool, SubsetRule, Window, divide_evenly


def choose_subset(
    scores: ScoresLike,
    kind: str = "easiest",
    size: int = 3200,
    labels: LabelsLike = None,
    balanced: bool = False,
    seed: int = 0,
    *,
    fraction: float | None = None,
    offset: int = 0,
    classes: Sequence[int] | None = None,
    strata: int = 50,
    mix: float = 0.5,
    indices: Sequence[int] | np.ndarray | Tensor | None = None,
) -> np.ndarray:
    """Choose the examples of a subset.

    Args:
        scores: One score per example, high means hard: float of shape (n,), or ``Scores`` (their mean over models).
            ``random``, ``all`` and ``indices`` need none and also take the number of examples, or None with ``labels``.
        kind: ``all``, ``random``, ``easiest``, ``hardest``, ``window``, ``stratified``, ``mixture``, ``indices``, or
            one that another package registers.
        size: Number of examples; does not apply to ``all`` and ``indices``.
        labels: int of shape (n,); needed for ``balanced`` and ``classes``.
        balanced: Take the subset class by class, with class counts that differ by at most one; the seed decides which
            classes get the extra example. A window's offset is divided over the classes in the same way. ``all`` and
            ``indices`` are refused when their examples are not balanced.
        seed: Seed of ties and random draws. Under one seed, subsets of all kinds but ``window`` nest.
        fraction: Fraction of the candidates in (0, 1], in place of ``size``.
        offset: Start of a ``window`` in the ascending order of scores.
        classes: Only these classes are candidates.
        strata: Number of score quantiles of ``stratified``.
        mix: Fraction of a ``mixture`` that is easiest, in [0, 1].
        indices: The examples of kind ``indices``, any order, no repeats.

    Returns:
        int64 of shape (size,), ascending: indices in the order of the data set.

    Raises:
        UnknownName: When no rule has the name ``kind``.
        DataError: When scores or labels are missing, have the wrong length, or are NaN or -inf; when the size does not
            fit, or an option has the wrong type.
    """
    rule = SUBSETS.get(kind)()
    checked = check_scores(scores, kind, rule.needs_scores)
    marks = check_labels(labels, needed=balanced or classes is not None)
    count = count_examples(scores, checked, marks)
    check_options(strata, mix, offset)
    check_seed(seed)
    members = candidates(count, marks, classes)
    pool = Pool(
        members,
        checked if checked is None or len(members) == count else checked[members],
        Draws(seed, count),
        offset=offset,
        strata=strata,
        mix=mix,
        indices=None if indices is None else check_indices(indices, members),
    )
    wanted = size_of(size, fraction, len(members)) if rule.sized else len(members)
    balanced_over = marks[members] if balanced and marks is not None else None
    return _pick(rule, pool, wanted, kind, balanced_over)


def random_like(reference: np.ndarray, labels: LabelsLike, seed: int = 0) -> np.ndarray:
    """Choose at random as many examples of each class as ``reference`` has: a control for class fractions.

    Args:
        reference: int of shape (size,): the subset to match.
        labels: int of shape (n,).
        seed: Seed of the draw.

    Returns:
        int64 of shape (size,), ascending.

    Raises:
        DataError: When labels are missing or ``reference`` is not a subset of the data set.
    """
    marks = check_labels(labels, needed=True)
    assert marks is not None
    wanted = check_indices(reference, np.arange(len(marks)))
    check_seed(seed)
    draws = Draws(seed, len(marks))
    rule = SUBSETS.get("random")()
    parts = []
    for label, count in zip(*np.unique(marks[wanted], return_counts=True), strict=True):
        members = np.flatnonzero(marks == label)
        parts.append(members[rule.pick(Pool(members, None, draws, int(label)), int(count))])
    return np.sort(np.concatenate(parts))


@dataclass(frozen=True)
class SubsetFacts:
    """What a subset contains and misses.

    Attributes:
        size: Number of examples.
        fraction: Fraction of the data set, in [0, 1].
        class_counts: Examples of each class in the subset.
        class_totals: Examples of each class in the data set.
        missing_classes: Classes of the data set that have no example in the subset.
        score_quantiles: Minimum, quartiles and maximum of the subset's scores; empty without scores.
        all_quantiles: The same of the whole data set.
    """

    size: int
    fraction: float
    class_counts: tuple[int, ...]
    class_totals: tuple[int, ...]
    missing_classes: tuple[int, ...]
    score_quantiles: tuple[float, ...] = ()
    all_quantiles: tuple[float, ...] = ()


def subset_facts(
    indices: np.ndarray, labels: LabelsLike, scores: ScoresLike = None, *, num_classes: int | None = None
) -> SubsetFacts:
    """Count what a subset contains and misses.

    Args:
        indices: int of shape (size,).
        labels: int of shape (n,).
        scores: As for ``choose_subset``, or None.
        num_classes: Number of classes; by default the highest label + 1.

    Returns:
        The facts, with the quantiles empty when there are no scores.

    Raises:
        DataError: When labels, indices or scores do not fit together.
    """
    marks = check_labels(labels, needed=True)
    assert marks is not None
    chosen = check_indices(indices, np.arange(len(marks)))
    totals = np.bincount(marks, minlength=num_classes or 0)
    counts = np.bincount(marks[chosen], minlength=len(totals))
    checked = None if scores is None else check_scores(scores, "", needed=True)
    count_examples(scores, checked, marks)
    return SubsetFacts(
        size=len(chosen),
        fraction=len(chosen) / len(marks),
        class_counts=tuple(counts.tolist()),
        class_totals=tuple(totals.tolist()),
        missing_classes=tuple(np.flatnonzero((counts == 0) & (totals > 0)).tolist()),
        score_quantiles=() if checked is None else _quartiles(checked[chosen]),
        all_quantiles=() if checked is None else _quartiles(checked),
    )


def _quartiles(values: np.ndarray) -> tuple[float, ...]:
    # "lower" never interpolates, so that it never computes inf - inf.
    return tuple(np.quantile(values, (0, 0.25, 0.5, 0.75, 1), method="lower").tolist())


def _pick(rule: SubsetRule, pool: Pool, size: int, kind: str, labels: np.ndarray | None) -> np.ndarray:
    """Apply the rule, evenly over the classes when labels of the candidates are given."""
    if labels is not None and rule.sized:
        return _pick_balanced(rule, pool, labels, size)
    picked = rule.pick(pool, size)
    if labels is not None:
        _check_balance(labels[picked], labels, kind)
    chosen: np.ndarray = pool.members[picked].astype(np.int64)
    return chosen


def _pick_balanced(rule: SubsetRule, pool: Pool, labels: np.ndarray, size: int) -> np.ndarray:
    """Apply the rule class by class, with quotas within one of equal."""
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    totals = counts[present]
    order = pool.draws.order("classes", len(present))
    quotas = divide_evenly(size, totals, order)
    if quotas.max() - quotas.min() > 1:
        small = int(totals.argmin())
        raise DataError(
            f"A balanced subset of {size} is not possible: class {present[small]} has only {totals[small]} examples.",
            expected=f"at most {len(present) * int(totals.min())} examples over {len(present)} classes",
            way_out="choose a smaller size, leave the small classes out with classes=, or balanced=False",
        )
    offsets = divide_evenly(min(pool.offset, int(totals.sum())), totals, order)
    if isinstance(rule, Window):
        _check_windows(pool.offset, size, present, totals, offsets + quotas)
    chosen = np.zeros(len(labels), dtype=bool)
    for label, quota, offset in zip(present, quotas, offsets, strict=True):
        inside = np.flatnonzero(labels == label)
        scores = None if pool.scores is None else pool.scores[inside]
        part = replace(pool, members=pool.members[inside], scores=scores, part=int(label), offset=int(offset))
        chosen[inside] = rule.pick(part, int(quota))
    return pool.members[chosen].astype(np.int64)


def _check_windows(offset: int, size: int, present: np.ndarray, totals: np.ndarray, ends: np.ndarray) -> None:
    """Name the class that a balanced window exceeds, in the numbers that the caller gave."""
    if (ends <= totals).all():
        return
    worst = int((ends - totals).argmax())
    raise DataError(
        f"Got a balanced window with offset={offset} and size={size}, of which class {present[worst]} has to give "
        f"{ends[worst]} examples, but it has only {totals[worst]}.",
        expected=f"offset + size that fits into each of the {len(present)} classes when it is divided over them",
        way_out="choose a smaller offset or size, leave the small classes out with classes=, or balanced=False",
    )


def _check_balance(chosen: np.ndarray, candidates: np.ndarray, kind: str) -> None:
    present = np.unique(candidates)
    counts = np.bincount(chosen, minlength=int(present.max(initial=0)) + 1)[present]
    if len(counts) and counts.max() - counts.min() > 1:
        raise DataError(
            f"A subset of kind {kind!r} is not balanced: it has {counts.min()} to {counts.max()} examples per class.",
            expected="class counts that differ by at most one",
            way_out="use balanced=False, or kind 'random' with a size",
        )
