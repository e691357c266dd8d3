"""Label noise: an exact number of labels replaced, the clean ones kept, so that scores can be judged as detectors.

Under one seed a larger fraction contains a smaller one: the same examples, with the same new labels, and more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import DataError, UnknownName
from ticketdiet.core.reading import open_regular
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.data.checks import as_array, check_seed, is_integer, is_number
from ticketdiet.data.decoded import checked_labels, reason_of

NoiseKind = Literal["symmetric", "symmetric_all", "pair_flip"]


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Labels after noise, beside what they were.

    Attributes:
        labels: int64 of shape (n,): the labels to train on.
        clean: int64 of shape (n,): the labels as they came.
        changed: Bool of shape (n,): where the two differ.
    """

    labels: np.ndarray
    clean: np.ndarray
    changed: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def noise_names() -> list[str]:
    """Names of the kinds of noise, sorted."""
    return sorted(get_args(NoiseKind))


def add_label_noise(
    labels: np.ndarray | Tensor | Sequence[int],
    *,
    fraction: float,
    num_classes: int,
    kind: NoiseKind = "symmetric",
    seed: int = 0,
) -> NoisyLabels:
    """Give ``round(fraction * n)`` randomly chosen examples another label.

    ``symmetric`` draws uniformly from the *other* labels, so exactly that many change. ``symmetric_all`` draws
    uniformly from all labels, as the published experiments do: one in ``num_classes`` of the chosen keeps its label by
    chance, and ``changed`` marks only the others. ``pair_flip`` replaces class c by c + 1, the last by the first.

    Args:
        labels: Integers of shape (n,), in ``[0, num_classes)``, as an array, a tensor or a sequence.
        fraction: Share of examples to choose, in [0, 1]; halves round to even.
        num_classes: Number of classes, at least 2.
        kind: Which labels take their place.
        seed: Seed of the choice and of the new labels.

    Raises:
        UnknownName: For another kind.
        DataError: For a fraction outside [0, 1], fewer than 2 classes, labels out of range, or no integer seed.
    """
    if kind not in get_args(NoiseKind):
        raise UnknownName.of("label noise", kind, noise_names())
    if not is_number(fraction) or not 0 <= fraction <= 1:
        raise DataError(
            f"fraction={fraction!r} of noisy labels.", expected="a share in [0, 1]", way_out="for example 0.5"
        )
    if not is_integer(num_classes) or num_classes < 2:
        raise DataError(f"num_classes={num_classes!r}.", expected="2 or more", way_out="noise needs another class")
    check_seed(seed)
    clean = _clean_labels(labels, num_classes)
    chosen = numpy_generator(seed, "noise", "examples").permutation(len(clean))[: round(fraction * len(clean))]
    noisy = clean.copy()
    noisy[chosen] = (clean + _shifts(kind, len(clean), num_classes, seed))[chosen] % num_classes
    return NoisyLabels(noisy, clean, noisy != clean)


def _clean_labels(labels: object, num_classes: int) -> np.ndarray:
    array = as_array(labels, "the labels")
    return checked_labels(array, array.size, "the labels", num_classes)


def _shifts(kind: str, count: int, num_classes: int, seed: int) -> np.ndarray:
    """How far every label would move on the circle of classes; drawn for all, so that fractions nest."""
    if kind == "pair_flip":
        return np.ones(count, dtype=np.int64)
    lowest = 1 if kind == "symmetric" else 0
    return numpy_generator(seed, "noise", "labels").integers(lowest, num_classes, size=count, dtype=np.int64)


def use_given_labels(
    labels: np.ndarray | Tensor | Sequence[int],
    given: np.ndarray | Tensor | Sequence[int] | str | Path,
    *,
    num_classes: int,
) -> NoisyLabels:
    """Replace labels by given ones, for example those that people gave by mistake.

    Args:
        labels: The clean labels, integers of shape (n,), as an array, a tensor or a sequence.
        given: Likewise, in the order of the data set, or the path of a ``.npy`` file of them.
        num_classes: Number of classes.

    Raises:
        DataError: For a file that cannot be read, another length, or labels out of range.
    """
    if not is_integer(num_classes):
        raise DataError(f"num_classes={num_classes!r}.", expected="an integer", way_out="give images.num_classes")
    clean = _clean_labels(labels, num_classes)
    array = _read_npy(Path(given)) if isinstance(given, str | Path) else as_array(given, "the given labels")
    where = str(given) if isinstance(given, str | Path) else "given"
    noisy = checked_labels(array, len(clean), where, num_classes)
    return NoisyLabels(noisy, clean, noisy != clean)


def _read_npy(path: Path) -> np.ndarray:
    try:
        with open_regular(path) as file:  # np.load leaves a file open that it cannot read
            array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read: {reason_of(error)}.",
            expected="a .npy file of integers",
            way_out="write it with numpy.save(path, labels)",
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} holds several arrays.", expected="a .npy file of integers", way_out="numpy.save")
    return array
