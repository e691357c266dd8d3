"""Barriers of single examples against their scores, classes and the length of pre-training.

The paper (arXiv 2206.01278, section 4) finds that easy examples, by EL2N, become linearly mode connected first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.landscape.barrier import DEFAULT_TOLERANCE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEVER = -1


@dataclass(frozen=True, eq=False)
class JointHistogram:
    """How many examples have which score and which barrier.

    Attributes:
        counts: int64 (score bins, barrier bins); they sum to the number of examples.
        score_edges: float64 (score bins + 1,).
        barrier_edges: float64 (barrier bins + 1,), nats.
    """

    counts: Integers
    score_edges: Floats
    barrier_edges: Floats


@dataclass(frozen=True, eq=False)
class ConnectedByGroup:
    """The share of connected examples in each group of a partition.

    Attributes:
        names: One a group.
        counts: int64 (groups,): examples.
        shares: float64 (groups,): share that is connected; NaN for an empty group.
        mean_barriers: float64 (groups,), nats; NaN for an empty group.
        tolerance: The largest barrier that counts as connected, nats.
        bounds: float64 (groups, 2): lowest and highest score in the group; None when groups are not by score.
    """

    names: tuple[str, ...]
    counts: Integers
    shares: Floats
    mean_barriers: Floats
    tolerance: float
    bounds: Floats | None = None


def joint_histogram(
    barriers: ArrayLike, scores: ArrayLike, *, score_bins: int = 40, barrier_bins: int = 40
) -> JointHistogram:
    """Count examples by score and barrier.

    Args:
        barriers: (n,), nats.
        scores: (n,), in the same order. Infinite scores (examples never learned) count in the last bin.
        score_bins: Bins of equal width from the lowest to the highest finite score.
        barrier_bins: Likewise for barriers.

    Returns:
        The counts and the edges of the bins.

    Raises:
        DataError: When lengths differ, there is no example, or a value is NaN.
        UserError: When there is no bin.
    """
    barrier, score = _paired(barriers, scores)
    if min(score_bins, barrier_bins) < 1:
        raise UserError(f"{score_bins} x {barrier_bins} bins.", expected="at least one bin a side")
    counts, score_edges, barrier_edges = np.histogram2d(
        _clip_infinite(score), _clip_infinite(barrier), bins=(score_bins, barrier_bins)
    )
    return JointHistogram(counts.astype(np.int64), score_edges, barrier_edges)


def connected_by_quantile(
    barriers: ArrayLike,
    scores: ArrayLike,
    *,
    quantiles: int = 10,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
) -> ConnectedByGroup:
    """Return the connected share in groups of equal size by ascending score.

    Args:
        barriers: (n,), nats.
        scores: (n,), in the same order; infinities are allowed.
        quantiles: Number of groups; their sizes differ by at most one.
        tolerance: The largest barrier that counts as connected, nats.
        seed: Breaks ties of the score by a permutation, since integer scores tie by the thousands.

    Returns:
        Groups named ``"q1"`` (lowest scores, easiest) and on.

    Raises:
        DataError: When lengths differ, there is no example, or a value is NaN.
        UserError: When the tolerance is negative, or there are fewer examples than groups.
    """
    barrier, score = _paired(barriers, scores)
    if not 1 <= quantiles <= len(score):
        raise UserError(f"{quantiles} quantiles of {len(score)} examples.", expected="from 1 to the number of examples")
    shuffled = numpy_generator(seed, "ties").permutation(len(score))
    order = shuffled[np.argsort(score[shuffled], kind="stable")]
    groups = np.array_split(order, quantiles)
    names = tuple(f"q{number}" for number in range(1, quantiles + 1))
    bounds = np.array([[score[group[0]], score[group[-1]]] for group in groups])
    return _by_group(barrier, groups, names, tolerance, bounds)


def connected_by_class(
    barriers: ArrayLike, labels: ArrayLike, class_names: Sequence[str], *, tolerance: float = DEFAULT_TOLERANCE
) -> ConnectedByGroup:
    """Return the connected share of each class.

    Args:
        barriers: (n,), nats.
        labels: (n,), integers in ``[0, len(class_names))``.
        class_names: One a class; a class without examples has a share of NaN.
        tolerance: The largest barrier that counts as connected, nats.

    Raises:
        DataError: When lengths differ, there is no example, or a barrier is NaN.
        UserError: When the tolerance is negative.
    """
    barrier, label = _paired(barriers, labels)
    groups = [np.flatnonzero(label == index) for index in range(len(class_names))]
    return _by_group(barrier, groups, tuple(class_names), tolerance, None)


def first_connected(steps: Sequence[int], barriers: ArrayLike, *, tolerance: float = DEFAULT_TOLERANCE) -> Integers:
    """Return at which pre-training step each example is connected for the first time.

    Args:
        steps: Ascending pre-training steps, one a row of ``barriers``.
        barriers: (steps, n), nats.
        tolerance: The largest barrier that counts as connected, nats.

    Returns:
        int64 (n,): the first step, or -1 for examples connected at none of them.

    Raises:
        DataError: When the rows are not one a step.
        UserError: When the tolerance is negative or the steps do not ascend.
    """
    matrix = np.asarray(barriers, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != len(steps):
        raise DataError(f"barriers of shape {matrix.shape} for {len(steps)} steps.", expected="(steps, examples)")
    if list(steps) != sorted(set(steps)):
        raise UserError(f"steps {list(steps)}.", expected="ascending steps, each once")
    connected = matrix <= _checked(tolerance)
    first = np.asarray(steps, dtype=np.int64)[connected.argmax(axis=0)]
    return np.where(connected.any(axis=0), first, NEVER)


def _by_group(
    barrier: Floats,
    groups: Sequence[NDArray[np.intp]],
    names: tuple[str, ...],
    tolerance: float,
    bounds: Floats | None,
) -> ConnectedByGroup:
    connected = (barrier <= _checked(tolerance)).astype(np.float64)
    counts = np.array([len(group) for group in groups], dtype=np.int64)
    shares, means = (np.array([_mean(values[group]) for group in groups]) for values in (connected, barrier))
    return ConnectedByGroup(names, counts, shares, means, tolerance, bounds)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _checked(tolerance: float) -> float:
    if not tolerance >= 0:
        raise UserError(f"tolerance {tolerance}.", expected="a number of nats, at least 0")
    return tolerance


def _paired(barriers: ArrayLike, others: ArrayLike) -> tuple[Floats, Floats]:
    barrier, other = np.asarray(barriers, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if barrier.ndim != 1 or barrier.shape != other.shape or barrier.size == 0:
        raise DataError(
            f"barriers of shape {barrier.shape} with values of shape {other.shape}.",
            expected="one of each for every example, in the same order",
            way_out="take both from the same data set; a score of a subset belongs to that subset's barriers",
        )
    for name, values in (("barriers", barrier), ("scores", other)):
        if np.isnan(values).any():
            raise DataError(f"{int(np.isnan(values).sum())} {name} are NaN.", expected="numbers")
    return barrier, other


def _clip_infinite(values: Floats) -> Floats:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    return np.clip(values, low, high)
