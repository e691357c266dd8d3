"""Label noise: an exact number of labels replaced, the clean ones kept, so that scores can be judged as detectors.

A kind of noise is a class with one verb. Those that take a ``fraction`` share the choice of examples: under one seed a
larger fraction contains a smaller one, the same examples with the same new labels, and more of them.

Another package adds a kind with ``NOISES.register(name)`` or an entry point in the group ``ticketdiet.noises``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.core.options import BaseOptions, Configurable, make
from ticketdiet.core.reading import open_regular
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.data.checks import as_array, check_seed, is_integer, is_number
from ticketdiet.data.decoded import checked_labels, reason_of

NOISES: Registry[type[LabelNoise]] = Registry("label noise", "noises")


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


class LabelNoise(Configurable):
    """A kind of noise. Override ``labels``; register the class under a name in ``NOISES``.

    Attributes:
        is_drawn: Whether the seed has an effect.
    """

    kind = "label noise"
    is_drawn: ClassVar[bool] = True

    def labels(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Return labels to train on.

        Args:
            clean: int64 (n,), the labels as they came; not to be changed.
            num_classes: Number of classes, at least 2.
            seed: Seed of whatever is drawn.

        Returns:
            Integers (n,) in ``[0, num_classes)``.
        """
        raise NotImplementedError


class FractionNoise(LabelNoise):
    """Noise of ``round(fraction * n)`` randomly chosen examples. Override ``replacements``."""

    class Options(BaseOptions):
        """How many examples."""

        fraction: float = Field(
            default=0.0, ge=0, le=1, description="Fraction of examples to choose, in [0, 1]; halves round to even."
        )

    options: Options

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Return the label that every example gets if it is chosen, (n,), whatever the fraction."""
        raise NotImplementedError

    def labels(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Replace the labels of the chosen examples."""
        count = round(self.options.fraction * len(clean))
        chosen = numpy_generator(seed, "noise", "examples").permutation(len(clean))[:count]
        noisy = clean.copy()
        noisy[chosen] = self.replacements(clean, num_classes, seed)[chosen]
        return noisy


@NOISES.register("symmetric")
class Symmetric(FractionNoise):
    """Uniform over the *other* labels, so that exactly the chosen examples change."""

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Move every label to another one on the circle of classes."""
        moved: np.ndarray = clean + _moves(1, num_classes, len(clean), seed)
        return moved % num_classes


@NOISES.register("symmetric_all")
class SymmetricAll(FractionNoise):
    """Uniform over all labels, as in the published experiments: one in ``num_classes`` keeps its label by chance."""

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Move every label on the circle of classes, or leave it."""
        moved: np.ndarray = clean + _moves(0, num_classes, len(clean), seed)
        return moved % num_classes


@NOISES.register("pair_flip")
class PairFlip(FractionNoise):
    """Class c becomes c + 1, the last one the first."""

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Return the next class."""
        return (clean + 1) % num_classes


@NOISES.register("file")
class GivenLabels(LabelNoise):
    """Labels from a file, for example those that people gave by mistake."""

    is_drawn = False

    class Options(BaseOptions):
        """Which file."""

        path: str = Field(description="A .npy file of one integer per training example, in their order.")

    options: Options

    def labels(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Return the labels in the file."""
        return _read_npy(Path(self.options.path))


def noise_names() -> list[str]:
    """Names of all kinds of noise, those of other packages included, sorted."""
    return NOISES.names()


def make_noisy(
    labels: np.ndarray | Tensor | Sequence[int],
    kind: str,
    *,
    num_classes: int,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
) -> NoisyLabels:
    """Replace labels by noise of any kind.

    Args:
        labels: Integers of shape (n,), in ``[0, num_classes)``, as an array, a tensor or a sequence.
        kind: Name of the kind; see ``noise_names()``.
        num_classes: Number of classes, at least 2.
        seed: Seed of whatever the kind draws.
        options: Options of the kind: ``{"fraction": 0.5}``, or ``{"path": "labels.npy"}`` for ``file``.

    Raises:
        UnknownName: For another kind; the message lists those there are.
        UserError: For an option that the kind does not have, or a value that it does not take.
        DataError: For fewer than 2 classes, labels out of range, no integer seed, or a file that cannot be used.
    """
    noise = make(NOISES, kind, options)
    if not is_integer(num_classes) or num_classes < 2:
        raise DataError(f"num_classes={num_classes!r}.", expected="2 or more", way_out="noise needs another class")
    check_seed(seed)
    clean = _clean_labels(labels, num_classes)
    where = getattr(noise.options, "path", f"label noise {kind!r}")
    noisy = checked_labels(noise.labels(clean.copy(), num_classes, seed), len(clean), where, num_classes)
    return NoisyLabels(noisy, clean, noisy != clean)


def add_label_noise(
    labels: np.ndarray | Tensor | Sequence[int],
    *,
    fraction: float,
    num_classes: int,
    kind: str = "symmetric",
    seed: int = 0,
) -> NoisyLabels:
    """Give ``round(fraction * n)`` randomly chosen examples another label.

    ``symmetric`` draws uniformly from the *other* labels, so exactly that many change. ``symmetric_all`` draws
    uniformly from all labels, as the published experiments do: one in ``num_classes`` of the chosen keeps its label by
    chance, and ``changed`` marks only the others. ``pair_flip`` replaces class c by c + 1, the last by the first.

    Args:
        labels: Integers of shape (n,), in ``[0, num_classes)``, as an array, a tensor or a sequence.
        fraction: Fraction of examples to choose, in [0, 1]; halves round to even.
        num_classes: Number of classes, at least 2.
        kind: Which labels take their place: a kind that takes a fraction.
        seed: Seed of the choice and of the new labels.

    Raises:
        UnknownName: For another kind.
        DataError: For a fraction outside [0, 1], fewer than 2 classes, labels out of range, or no integer seed.
        UserError: For a kind that takes no fraction.
    """
    if not is_number(fraction) or not 0 <= fraction <= 1:
        raise DataError(
            f"fraction={fraction!r} of noisy labels.", expected="a fraction in [0, 1]", way_out="for example 0.5"
        )
    return make_noisy(labels, kind, num_classes=num_classes, seed=seed, options={"fraction": fraction})


def _clean_labels(labels: object, num_classes: int) -> np.ndarray:
    array = as_array(labels, "the labels")
    return checked_labels(array, array.size, "the labels", num_classes)


def _moves(lowest: int, num_classes: int, count: int, seed: int) -> np.ndarray:
    """How far every label moves on the circle of classes; drawn for all, so that fractions nest."""
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
