"""Label noise: replaces an exact number of labels and keeps the clean ones, so that scores can be judged as detectors.

A kind of noise is a class with one verb. The kinds that take a ``fraction`` choose the same examples: with one seed,
the new labels of a smaller fraction are among those of a larger one.

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
from ticketdiet.core.reading import open_regular, reason_of
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.data.checks import as_array, check_seed, is_integer, is_number
from ticketdiet.data.decoded import checked_labels

NOISES: Registry[type[LabelNoise]] = Registry("label noise", "noises")


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Labels after noise, with the clean labels.

    Attributes:
        labels: int64 of shape (n,): the labels to train on.
        clean: int64 of shape (n,): the labels before the noise.
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
            clean: int64 of shape (n,): the labels before the noise, which the method may not change.
            num_classes: Number of classes, at least 2.
            seed: Seed of everything that the kind draws.

        Returns:
            Integers of shape (n,) in ``[0, num_classes)``.
        """
        raise NotImplementedError


class FractionNoise(LabelNoise):
    """Noise of ``round(fraction * n)`` randomly chosen examples. Override ``replacements``."""

    class Options(BaseOptions):
        """The number of examples."""

        fraction: float = Field(
            default=0.0, ge=0, le=1, description="Fraction of examples to choose, in [0, 1]; halves round to even."
        )

    options: Options

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Return the label that every example gets if it is chosen, of shape (n,); the fraction has no effect on it."""
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
    """Uniform over all labels, as published: on average one in ``num_classes`` keeps its label by chance."""

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Move every label on the circle of classes, or leave it."""
        moved: np.ndarray = clean + _moves(0, num_classes, len(clean), seed)
        return moved % num_classes


@NOISES.register("pair_flip")
class PairFlip(FractionNoise):
    """Class c becomes c + 1, and the last class becomes the first."""

    def replacements(self, clean: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
        """Return the next class."""
        return (clean + 1) % num_classes


@NOISES.register("file")
class GivenLabels(LabelNoise):
    """Labels from a file, for example those of careless annotators."""

    is_drawn = False

    class Options(BaseOptions):
        """The file."""

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
        seed: Seed of everything that the kind draws.
        options: Options of the kind: ``{"fraction": 0.5}``, or ``{"path": "labels.npy"}`` for ``file``.

    Returns:
        The labels before and after the noise.

    Raises:
        UnknownName: When there is no such kind; the message lists the known kinds.
        UserError: When the kind does not have an option, or does not take its value.
        DataError: When there are fewer than 2 classes, labels are out of range, the seed is not an integer, or a file
            cannot be used.
    """
    noise = make(NOISES, kind, options)
    if not is_integer(num_classes) or num_classes < 2:
        raise DataError(
            f"Got num_classes={num_classes!r}.", expected="2 or more", way_out="give images.num_classes, at least 2"
        )
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
        kind: Name of a kind that takes a fraction.
        seed: Seed of the choice and of the new labels.

    Returns:
        The labels before and after the noise.

    Raises:
        UnknownName: When there is no such kind.
        DataError: When the fraction is outside [0, 1], there are fewer than 2 classes, labels are out of range, or the
            seed is not an integer.
        UserError: When the kind takes no fraction.
    """
    if not is_number(fraction) or not 0 <= fraction <= 1:
        raise DataError(
            f"Got fraction={fraction!r} for label noise.", expected="a fraction in [0, 1]", way_out="for example 0.5"
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
    """Replace labels by given ones, for example by those of careless annotators.

    Args:
        labels: The clean labels, integers of shape (n,), as an array, a tensor or a sequence.
        given: The new labels in the order of the data set, or the path of a ``.npy`` file of them.
        num_classes: Number of classes.

    Returns:
        The labels before and after the replacement.

    Raises:
        DataError: When the file cannot be read, the number of labels differs, or labels are out of range.
    """
    if not is_integer(num_classes):
        raise DataError(f"Got num_classes={num_classes!r}.", expected="an integer", way_out="give images.num_classes")
    clean = _clean_labels(labels, num_classes)
    array = _read_npy(Path(given)) if isinstance(given, str | Path) else as_array(given, "the given labels")
    where = str(given) if isinstance(given, str | Path) else "the given labels"
    noisy = checked_labels(array, len(clean), where, num_classes)
    return NoisyLabels(noisy, clean, noisy != clean)


def _read_npy(path: Path) -> np.ndarray:
    try:
        with open_regular(path) as file:  # np.load does not close a file that it cannot read
            array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"The file {path} cannot be read: {reason_of(error)}.",
            expected="a .npy file of integers",
            way_out="write it with numpy.save(path, labels)",
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"The file {path} contains several arrays.",
            expected="a .npy file of integers",
            way_out="write it with numpy.save(path, labels)",
        )
    return array
