"""Compares barriers of single examples with their scores, classes and the length of pre-training.

The paper (arXiv 2206.01278, section 4) finds that easy examples, by EL2N, become linearly mode connected first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE, check_tolerance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEVER = -1


@dataclass(frozen=True, eq=False)
class ConnectedByGroup:
    """The fraction of connected examples in each group of a partition.

    Attributes:
        names: One per group.
        counts: int64 (groups,): examples.
        fractions: float64 (groups,): fraction that is connected; NaN for an empty group.
        mean_barriers: float64 (groups,), nats; NaN for an empty group.
        tolerance: The largest barrier that counts as connected, nats.
        bounds: float64 (groups, 2): lowest and highest score in the group; None when groups are not by score.
    """

    names: tuple[str, ...]
    counts: Integers
    fractions: Floats
    mean_barriers: Floats
    tolerance: float
    bounds: Floats | None = None


def connected_by_quantile(
    barriers: ArrayLike,
    scores: ArrayLike,
    *,
    quantiles: int = 10,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
) -> ConnectedByGroup:
    """Return the connected fraction in groups of equal size by ascending score.

    Args:
        barriers: (n,), nats.
        scores: (n,), in the same order; infinities are allowed.
        quantiles: Number of groups; their sizes differ by at most one.
        tolerance: The largest barrier that counts as connected, nats.
        seed: Seed of the permutation that breaks ties of the score; integer scores have thousands of them.

    Returns:
        Groups named ``"q1"`` (lowest scores, easiest) and on.

    Raises:
        DataError: When lengths differ, there is no example, or a value is NaN.
        UserError: When the tolerance is negative, or there are fewer examples than groups.
    """
    barrier, score = _paired(barriers, scores)
    if not 1 <= quantiles <= len(score):
        raise UserError(
            f"There cannot be {quantiles} quantiles of {len(score)} examples.",
            expected="from 1 to the number of examples",
            way_out="ask for fewer",
        )
    shuffled = numpy_generator(seed, "ties").permutation(len(score))
    order = shuffled[np.argsort(score[shuffled], kind="stable")]
    groups = np.array_split(order, quantiles)
    names = tuple(f"q{number}" for number in range(1, quantiles + 1))
    bounds = np.array([[score[group[0]], score[group[-1]]] for group in groups])
    return _by_group(barrier, groups, names, tolerance, bounds)


def connected_by_class(
    barriers: ArrayLike, labels: ArrayLike, class_names: Sequence[str], *, tolerance: float = DEFAULT_TOLERANCE
) -> ConnectedByGroup:
    """Return the connected fraction of each class.

    Args:
        barriers: (n,), nats.
        labels: (n,), integers in ``[0, len(class_names))``.
        class_names: One per class; a class without examples has a fraction of NaN.
        tolerance: The largest barrier that counts as connected, nats.

    Returns:
        Groups named after the classes.

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
        steps: Ascending pre-training steps, one per row of ``barriers``.
        barriers: (steps, n), nats.
        tolerance: The largest barrier that counts as connected, nats.

    Returns:
        int64 (n,): the first step, or -1 for examples connected at none of them.

    Raises:
        DataError: When there is not one row per step.
        UserError: When the tolerance is negative or the steps do not ascend.
    """
    matrix = np.asarray(barriers, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != len(steps):
        raise DataError(
            f"The barriers have shape {matrix.shape}, for {len(steps)} steps.",
            expected="(steps, examples)",
            way_out="give one row of barriers per step",
        )
    if list(steps) != sorted(set(steps)):
        raise UserError(
            f"The steps {list(steps)} do not ascend.",
            expected="ascending steps, each once",
            way_out="sort steps and barriers together",
        )
    connected = matrix <= check_tolerance(tolerance)
    first = np.asarray(steps, dtype=np.int64)[connected.argmax(axis=0)]
    return np.where(connected.any(axis=0), first, NEVER)


def _by_group(
    barrier: Floats,
    groups: Sequence[NDArray[np.intp]],
    names: tuple[str, ...],
    tolerance: float,
    bounds: Floats | None,
) -> ConnectedByGroup:
    connected = (barrier <= check_tolerance(tolerance)).astype(np.float64)
    counts = np.array([len(group) for group in groups], dtype=np.int64)
    fractions, means = (np.array([_mean(values[group]) for group in groups]) for values in (connected, barrier))
    return ConnectedByGroup(names, counts, fractions, means, tolerance, bounds)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _paired(barriers: ArrayLike, others: ArrayLike) -> tuple[Floats, Floats]:
    barrier, other = np.asarray(barriers, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if barrier.ndim != 1 or barrier.shape != other.shape or barrier.size == 0:
        raise DataError(
            f"The barriers have shape {barrier.shape}, and what they are compared with has shape {other.shape}.",
            expected="one value of each per example, in the same order",
            way_out="take both from the same data set; a score of a subset belongs to that subset's barriers",
        )
    for name, values in (("barriers", barrier), ("scores", other)):
        if np.isnan(values).any():
            raise DataError(
                f"{int(np.isnan(values).sum())} of the {len(values)} {name} are NaN.",
                expected="numbers",
                way_out="leave those examples out",
            )
    return barrier, other
