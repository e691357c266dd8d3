"""What callers give for numbers, arrays, scores, labels and indices, checked before anything is done with it."""

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
    """Refuse what is no integer.

    Raises:
        DataError: For anything else.
    """
    if not is_integer(seed):
        raise DataError(f"seed={seed!r}.", expected="an integer", way_out="for example seed=0")


def as_array(values: object, name: str) -> np.ndarray:
    """Return a tensor, an array or a sequence as an array; ``name`` is for the message.

    Raises:
        DataError: When it makes none, because its rows differ in length, say.
    """
    if isinstance(values, Tensor):
        return np.asarray(values.detach().cpu().numpy())
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise DataError(
            f"{name} of type {type(values).__name__}, which make no array: {reason}.",
            expected="an array, a tensor or a sequence of numbers",
            way_out=f"np.asarray({name}) has to work",
        ) from None


def check_scores(scores: ScoresLike, kind: str, needed: bool) -> np.ndarray | None:
    """Return scores as floats of shape (n,), or None when a kind needs none and there are none.

    Raises:
        DataError: When they cannot be used.
    """
    if scores is None or is_integer(scores):
        if needed:
            raise DataError(
                f"no scores for a subset of kind {kind!r}.",
                expected="one score an example",
                way_out="give scores, or use kind 'random' or 'all'",
            )
        return None
    array = scores.mean if isinstance(scores, Scores) else as_array(scores, "scores")
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise DataError(
            f"scores of shape {array.shape} and dtype {array.dtype}.",
            expected="numbers of shape (n,)",
            way_out="give one number an example; a matrix over models is averaged when it comes as Scores",
        )
    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        array = array.astype(np.float64)
    # The minimum is NaN if any score is: one pass, no temporary array.
    lowest = array.min(initial=np.inf)
    if np.isnan(lowest) or lowest == -np.inf:
        bad = np.flatnonzero(np.isnan(array) | (array == -np.inf))
        raise DataError(
            f"{len(bad)} scores are NaN or -inf, the first at example {bad[0]}.",
            expected="finite numbers; +inf is allowed and means hardest",
            way_out="score these examples again, or set them to a number on purpose",
        )
    return array


def check_labels(labels: LabelsLike, *, needed: bool) -> np.ndarray | None:
    """Return labels as integers of shape (n,), or None when there are none.

    Raises:
        DataError: When they cannot be used.
    """
    if labels is None:
        if needed:
            raise DataError(
                "no labels.",
                expected="one label an example, for balanced subsets, classes= and class counts",
                way_out="give labels=images.labels",
            )
        return None
    array = as_array(labels, "labels")
    if not array.size:
        raise DataError("an empty array of labels.", expected="one label an example", way_out="check the data set")
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0:
        raise DataError(
            f"labels of shape {array.shape} and dtype {array.dtype}.",
            expected="integers of shape (n,), from 0",
            way_out="number the classes from 0",
        )
    return array


def count_examples(scores: ScoresLike, checked: np.ndarray | None, labels: np.ndarray | None) -> int:
    """Return how many examples there are, if all that was given agrees on it.

    Raises:
        DataError: When they cannot be used.
    """
    given = {} if checked is None else {"scores": len(checked)}
    given |= {"examples": int(scores)} if is_integer(scores) else {}  # type: ignore[arg-type]
    given |= {} if labels is None else {"labels": len(labels)}
    counts = list(given.values())
    if not counts or len(set(counts)) > 1 or counts[0] < 1:
        raise DataError(
            f"{' and '.join(f'{count} {name}' for name, count in given.items()) or 'neither scores nor labels'}.",
            expected="one score and one label an example, at least one example",
            way_out="take both from the same split; a number of examples will do for kind 'random'",
        )
    return counts[0]


def check_options(strata: int, mix: float, offset: int) -> None:
    """Refuse options of a kind of subset that are out of range.

    Raises:
        DataError: When they cannot be used.
    """
    typed = is_integer(strata) and is_number(mix) and is_integer(offset)
    if not typed or not 1 <= strata <= MAX_STRATA or not 0 <= mix <= 1 or offset < 0:
        raise DataError(
            f"strata={strata!r}, mix={mix!r}, offset={offset!r}.",
            expected=f"integers strata in [1, {MAX_STRATA}], mix in [0, 1] and an integer offset >= 0",
            way_out="correct the option",
        )


def candidates(count: int, labels: np.ndarray | None, classes: Sequence[int] | None) -> np.ndarray:
    """Return the examples to choose from, ascending: all, or those of the named classes.

    Raises:
        DataError: When they cannot be used.
    """
    if classes is None:
        return np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    assert labels is not None
    wanted = as_array(classes, "classes")
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise DataError(
            f"classes={classes!r}.", expected="a sequence of class numbers", way_out="for example classes=[0, 1]"
        )
    members = np.flatnonzero(np.isin(labels, wanted))
    absent = sorted(set(wanted.tolist()) - set(np.unique(labels[members]).tolist()))
    if absent or not len(members):
        raise DataError(
            f"classes {wanted.tolist()}, of which {absent} have no example.",
            expected=f"classes from 0 to {labels.max()}",
            way_out="name classes of this data set",
        )
    return members


def size_of(size: int, share: float | None, count: int) -> int:
    """Return how many examples to choose, from a size or a share.

    Raises:
        DataError: When they cannot be used.
    """
    if share is not None and (not is_number(share) or not 0 < share <= 1):
        raise DataError(f"share={share!r}.", expected="a share in (0, 1]", way_out="0.1 takes a tenth")
    if share is None and not is_integer(size):
        raise DataError(
            f"size={size!r} of type {type(size).__name__}.",
            expected=f"an integer from 1 to {count}",
            way_out="give a number of examples, or a share= of them",
        )
    wanted = int(size) if share is None else math.floor(share * count + 0.5)
    if not 1 <= wanted <= count:
        raise DataError(
            f"a subset of {wanted} from {count} candidates.",
            expected=f"a size from 1 to {count}",
            way_out="choose another size, or kind 'all'",
        )
    return wanted


def check_indices(indices: Sequence[int] | np.ndarray | Tensor, members: np.ndarray) -> np.ndarray:
    """Return indices of some of ``members``, ascending: int64, no repeats.

    Raises:
        DataError: When they cannot be used.
    """
    array = as_array(indices, "indices")
    way_out = "count from 0 in the order of the data set; classes= leaves candidates out"
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        came = f"indices of shape {array.shape} and dtype {array.dtype}."
        way_out = "np.flatnonzero(...) turns a mask into indices" if array.dtype == bool else way_out
    elif len(np.unique(array)) < len(array):
        came = f"{len(array)} indices, of which {len(array) - len(np.unique(array))} repeat others."
        way_out = "np.unique(indices) leaves the repeats out"
    elif not np.isin(array, members).all():
        came = f"index {array[~np.isin(array, members)][0]}, which is none of the candidates."
    else:
        return np.sort(array).astype(np.int64)
    raise DataError(
        came, expected=f"distinct integers among the {len(members)} candidates, at least one", way_out=way_out
    )
