"""What a barrier between two networks is: how far the loss rises above the chord on the straight line between them.

Following Paul et al. (arXiv 2206.01278, section 4) and Frankle et al. (arXiv 1912.05671): cross-entropy in nats, and
negative values are kept. ``measurement`` computes the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE, check_tolerance


def heights_above_chord(values: Tensor, alphas: Sequence[float]) -> Tensor:
    """Return how far each row lies above the straight line between the first and the last row.

    Args:
        values: (alphas, ...), losses or errors along the line.
        alphas: Where the rows are; the first is 0, the last 1.

    Returns:
        float64 (alphas, ...); the first and last row are 0.
    """
    exact = values.double()
    at = torch.tensor(alphas, dtype=torch.float64).view(-1, *[1] * (exact.dim() - 1))
    return exact - ((1 - at) * exact[0] + at * exact[-1])


def connected_fraction(per_example: Tensor, tolerance: float) -> float:
    """Return the fraction of examples that are connected, that is, have a barrier of at most ``tolerance`` nats.

    Args:
        per_example: Barriers in nats, of any shape.
        tolerance: In nats.

    Returns:
        In [0, 1], over all entries of ``per_example``.

    Raises:
        UserError: When the tolerance is negative or not a number.
    """
    return float((per_example <= check_tolerance(tolerance)).double().mean())


@dataclass(frozen=True, eq=False)
class Barrier:
    """Losses on the line between networks a and b, per example, in the order of the images.

    Attributes:
        alphas: Ascending, with 0 (network a), 0.5 and 1 (network b).
        losses: float32 (alphas, n): cross-entropy in nats.
        correct: bool (alphas, n).
        batch_norm: Policy under which all of them, ends included, were computed.
    """

    alphas: tuple[float, ...]
    losses: Tensor
    correct: Tensor
    batch_norm: str = "interpolate"

    @cached_property
    def per_example(self) -> Tensor:
        """float64 (n,), nats: loss at the midpoint minus the mean loss of the ends; may be negative."""
        middle = self.losses[self.alphas.index(0.5)].double()
        return middle - (self.losses[0].double() + self.losses[-1].double()) / 2

    @cached_property
    def loss(self) -> Tensor:
        """float64 (alphas,), nats: mean loss."""
        return self.losses.double().mean(1)

    @cached_property
    def error(self) -> Tensor:
        """float64 (alphas,), in [0, 1]: fraction of the examples that are classified wrongly."""
        return 1 - self.correct.double().mean(1)

    @property
    def mean(self) -> float:
        """Mean over examples of ``per_example``, nats: the paper's barrier of a pair."""
        return float(self.per_example.mean())

    @property
    def max(self) -> float:
        """Largest height of the mean loss above the chord strictly between the ends, nats; may be negative."""
        return _highest(self.loss, self.alphas)

    @property
    def error_barrier(self) -> float:
        """Largest height of the error above its chord strictly between the ends, in [-1, 1]."""
        return _highest(self.error, self.alphas)

    def connected(self, tolerance: float = DEFAULT_TOLERANCE) -> Tensor:
        """Return which examples have a barrier of at most ``tolerance`` nats.

        Args:
            tolerance: In nats.

        Returns:
            bool (n,).

        Raises:
            UserError: When the tolerance is negative or not a number.
        """
        return self.per_example <= check_tolerance(tolerance)

    def connected_fraction(self, tolerance: float = DEFAULT_TOLERANCE) -> float:
        """Return the fraction of examples that are connected within ``tolerance`` nats.

        Args:
            tolerance: In nats.

        Returns:
            In [0, 1].

        Raises:
            UserError: When the tolerance is negative or not a number.
        """
        return connected_fraction(self.per_example, tolerance)


@dataclass(frozen=True, eq=False)
class PairBarrier:
    """What is kept of the barrier of one pair among several networks: one number per example, and two curves.

    Attributes:
        a: Name of the first network.
        b: Name of the second.
        alphas: Ascending, with 0 (network a), 0.5 and 1 (network b).
        per_example: float64 (n,), nats: barrier of each example at the midpoint.
        loss: float64 (alphas,), nats: mean loss.
        error: float64 (alphas,), in [0, 1]: fraction of the examples that are classified wrongly.
    """

    a: str
    b: str
    alphas: tuple[float, ...]
    per_example: Tensor
    loss: Tensor
    error: Tensor

    @classmethod
    def of(cls, a: str, b: str, barrier: Barrier) -> PairBarrier:
        """Summarise ``barrier``, which is between ``a`` and ``b``."""
        return cls(a, b, barrier.alphas, barrier.per_example, barrier.loss, barrier.error)

    @property
    def name(self) -> str:
        """Both names, as in ``"parent-child1"``."""
        return f"{self.a}-{self.b}"

    @property
    def mean(self) -> float:
        """Mean barrier over examples, nats."""
        return float(self.per_example.mean())

    @property
    def max(self) -> float:
        """Largest height of the mean loss above the chord strictly between the ends, nats; may be negative."""
        return _highest(self.loss, self.alphas)

    @property
    def error_barrier(self) -> float:
        """Largest height of the error above its chord strictly between the ends, in [-1, 1]."""
        return _highest(self.error, self.alphas)


def _highest(values: Tensor, alphas: Sequence[float]) -> float:
    return float(heights_above_chord(values, alphas)[1:-1].max())
