"""Checks of what callers give for numbers, arrays, scores, labels and indices, before anything is done with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Scores

ScoresLike = Scores | np.ndarray | Tensor | Sequence[float] | int | None
LabelsLike = np.ndarray | Tensor | Sequence[int] | None

MAX_STRATA = 10_000


def is_integer(value: object) -> bool:
    """Whether ``value`` is an integer of Python or numpy, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number of Python or numpy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_seed(seed: object) -> None:
    """Refuse a seed that is not an integer.

    Raises:
        DataError: When it is anything else.
    """
    if not is_integer(seed):
        raise DataError(f"Got seed={seed!r}.", expected="an integer", way_out="for example seed=0")


def as_array(values: object, name: str) -> np.ndarray:
    """Convert a tensor, an array or a sequence to an array.

    Args:
        values: What the caller gave.
        name: Its name in the message.

    Returns:
        The array, of whatever shape and dtype the values have.

    Raises:
        DataError: When numpy cannot make an array of them, for example because rows differ in length.
    """
    if isinstance(values, Tensor):
        return np.asarray(values.detach().cpu().numpy())
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise DataError(
            f"Got {name} of type {type(values).__name__}, which cannot be converted to an array: {reason}.",
            expected="an array, a tensor or a sequence of numbers",
            way_out=f"check that np.asarray({name}) works",
        ) from None


def check_scores(scores: ScoresLike, kind: str, needed: bool) -> np.ndarray | None:
    """Check the scores for a subset of kind ``kind``.

    Args:
        scores: Scores, or the number of examples, or None.
        kind: Kind of the subset, for the message.
        needed: Whether the kind needs scores.

    Returns:
        Float of shape (n,); None when there are none and the kind needs none.

    Raises:
        DataError: When scores are needed and missing, or have the wrong shape or dtype, or are NaN or -inf.
    """
    if scores is None or is_integer(scores):
        if needed:
            raise DataError(
                f"Got no scores for a subset of kind {kind!r}.",
                expected="one score per example",
                way_out="give scores, or use kind 'random' or 'all'",
            )
        return None
    array = scores.mean if isinstance(scores, Scores) else as_array(scores, "scores")
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise DataError(
            f"The scores have shape {array.shape} and dtype {array.dtype}.",
            expected="numbers of shape (n,)",
            way_out="give one number per example; put a matrix over models into Scores, which averages it",
        )
    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        array = array.astype(np.float64)
    # The minimum is NaN if any score is: one pass, no temporary array.
    lowest = array.min(initial=np.inf)
    if np.isnan(lowest) or lowest == -np.inf:
        bad = np.flatnonzero(np.isnan(array) | (array == -np.inf))
        raise DataError(
            f"The scores contain {len(bad)} values that are NaN or -inf, the first at example {bad[0]}.",
            expected="finite numbers; +inf is allowed and means hardest",
            way_out="score these examples again, or set them to a number on purpose",
        )
    return array


def check_labels(labels: LabelsLike, *, needed: bool) -> np.ndarray | None:
    """Check labels.

    Args:
        labels: Labels, or None.
        needed: Whether they may not be missing.

    Returns:
        Integers of shape (n,); None when there are none.

    Raises:
        DataError: When labels are needed and missing, are empty or negative, or have the wrong shape or dtype.
    """
    if labels is None:
        if needed:
            raise DataError(
                "Got no labels.",
                expected="one label per example, for balanced subsets, classes= and class counts",
                way_out="give labels=images.labels",
            )
        return None
    array = as_array(labels, "labels")
    if not array.size:
        raise DataError("The labels are empty.", expected="one label per example", way_out="check the data set")
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0:
        raise DataError(
            f"The labels have shape {array.shape}, dtype {array.dtype} and minimum {array.min()}.",
            expected="integers of shape (n,), from 0",
            way_out="number the classes from 0",
        )
    return array


def count_examples(scores: ScoresLike, checked: np.ndarray | None, labels: np.ndarray | None) -> int:
    """Count the examples, and check that everything that was given agrees.

    Args:
        scores: What the caller gave: scores, the number of examples, or None.
        checked: The scores as ``check_scores`` returned them.
        labels: The labels as ``check_labels`` returned them.

    Returns:
        The number of examples, at least 1.

    Raises:
        DataError: When nothing was given, the numbers differ, or there are no examples.
    """
    given = {} if checked is None else {"scores": len(checked)}
    given |= {"examples": int(scores)} if is_integer(scores) else {}  # type: ignore[arg-type]
    given |= {} if labels is None else {"labels": len(labels)}
    counts = list(given.values())
    if not counts or len(set(counts)) > 1 or counts[0] < 1:
        raise DataError(
            f"Got {' and '.join(f'{count} {name}' for name, count in given.items()) or 'neither scores nor labels'}.",
            expected="one score and one label per example, and at least one example",
            way_out="take both from the same split; for kind 'random' the number of examples is enough",
        )
    return counts[0]


def check_options(strata: int, mix: float, offset: int) -> None:
    """Refuse options of a kind of subset that are out of range.

    Raises:
        DataError: When one of them has the wrong type or is out of range.
    """
    typed = is_integer(strata) and is_number(mix) and is_integer(offset)
    if not typed or not 1 <= strata <= MAX_STRATA or not 0 <= mix <= 1 or offset < 0:
        raise DataError(
            f"Got strata={strata!r}, mix={mix!r} and offset={offset!r}.",
            expected=f"integers strata in [1, {MAX_STRATA}], mix in [0, 1] and an integer offset >= 0",
            way_out="correct the option",
        )


def candidates(count: int, labels: np.ndarray | None, classes: Sequence[int] | None) -> np.ndarray:
    """Find the examples that a subset may be chosen from.

    Args:
        count: Number of examples.
        labels: Integers of shape (n,); needed with ``classes``.
        classes: The classes whose examples are candidates, or None for all.

    Returns:
        int32 or int64 of shape (m,), ascending: indices of the candidates.

    Raises:
        DataError: When ``classes`` is not a sequence of class numbers, or a class has no example.
    """
    if classes is None:
        return np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    assert labels is not None
    wanted = as_array(classes, "classes")
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise DataError(
            f"Got classes={classes!r}.", expected="a sequence of class numbers", way_out="for example classes=[0, 1]"
        )
    members = np.flatnonzero(np.isin(labels, wanted))
    absent = sorted(set(wanted.tolist()) - set(np.unique(labels[members]).tolist()))
    if absent or not len(members):
        raise DataError(
            f"Got classes={wanted.tolist()}, of which {absent} have no example.",
            expected=f"classes from 0 to {labels.max()}",
            way_out="name classes of this data set",
        )
    return members


def size_of(size: int, fraction: float | None, count: int) -> int:
    """Find how many examples to choose.

    Args:
        size: Number of examples; ignored with ``fraction``.
        fraction: Fraction of the candidates in (0, 1], or None.
        count: Number of candidates.

    Returns:
        A number of examples in [1, count].

    Raises:
        DataError: When size or fraction have the wrong type or do not fit the candidates.
    """
    if fraction is not None and (not is_number(fraction) or not 0 < fraction <= 1):
        raise DataError(f"Got fraction={fraction!r}.", expected="a fraction in (0, 1]", way_out="for example 0.1")
    if fraction is None and not is_integer(size):
        raise DataError(
            f"Got size={size!r} of type {type(size).__name__}.",
            expected=f"an integer from 1 to {count}",
            way_out="give a number of examples, or a fraction= of them",
        )
    wanted = int(size) if fraction is None else math.floor(fraction * count + 0.5)
    if not 1 <= wanted <= count:
        raise DataError(
            f"A subset of {wanted} examples cannot be chosen from {count} candidates.",
            expected=f"a size from 1 to {count}",
            way_out="choose another size, or kind 'all'",
        )
    return wanted


def check_indices(
    indices: Sequence[int] | np.ndarray | Tensor, members: np.ndarray, *, at_least: int = 1
) -> np.ndarray:
    """Check the indices of some of the candidates.

    Args:
        indices: Distinct integers of shape (size,), in any order.
        members: Indices of the candidates.
        at_least: Lowest number of indices, 0 or 1.

    Returns:
        int64 of shape (size,), ascending.

    Raises:
        DataError: When the indices have the wrong shape or dtype, repeat, or are not among the candidates.
    """
    array = as_array(indices, "indices")
    way_out = "count from 0 in the order of the data set; classes= leaves candidates out"
    if array.ndim == 1 and not array.size and not at_least:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        came = f"The indices have shape {array.shape} and dtype {array.dtype}."
        way_out = "np.flatnonzero(...) converts a mask to indices" if array.dtype == bool else way_out
    elif len(np.unique(array)) < len(array):
        came = f"Got {len(array)} indices, of which {len(array) - len(np.unique(array))} repeat others."
        way_out = "np.unique(indices) leaves the repeats out"
    elif not np.isin(array, members).all():
        came = f"The index {array[~np.isin(array, members)][0]} is not among the candidates."
    else:
        return np.sort(array).astype(np.int64)
    number = ", at least one" if at_least else ""
    raise DataError(came, expected=f"distinct integers among the {len(members)} candidates{number}", way_out=way_out)
