"""The smallest rewinding point whose children are connected, by bisection over saved pre-training steps.

Linear mode connectivity sets in early in training and coincides with where rewinding begins to work (Frankle et al.,
arXiv 1912.05671); a few pairs of children are much cheaper than an IMP sweep at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.barrier import DEFAULT_TOLERANCE


class _Measured(Protocol):
    @property
    def mean(self) -> float: ...

    def connected_share(self, tolerance: float = ...) -> float: ...


@dataclass(frozen=True)
class Evidence:
    """What was found at one rewinding point.

    Attributes:
        k: Pre-training steps.
        mean_barrier: Nats.
        connected_share: In [0, 1].
        connected: The verdict.
    """

    k: int
    mean_barrier: float
    connected_share: float
    connected: bool


@dataclass(frozen=True)
class RewindAnswer:
    """The answer of a search, with its evidence.

    Attributes:
        k: Smallest step found connected, or None when not even the last is.
        below: Largest step below ``k`` that was found unconnected; None when ``k`` is the first candidate.
        evidence: Every step that was probed, in the order of probing.
        candidates: The saved steps, ascending.
    """

    k: int | None
    below: int | None
    evidence: tuple[Evidence, ...]
    candidates: tuple[int, ...]


@dataclass(frozen=True)
class ConnectedWhen:
    """The rule that turns a barrier into a verdict: one of the two or both; all that are set must hold.

    Attributes:
        max_barrier: Largest mean barrier, nats (tau).
        min_share: Smallest share of connected examples, in [0, 1] (s).
        tolerance: Barrier up to which an example counts as connected, nats.
    """

    max_barrier: float | None = None
    min_share: float | None = None
    tolerance: float = DEFAULT_TOLERANCE

    def __post_init__(self) -> None:
        if self.max_barrier is None and self.min_share is None:
            raise UserError("no rule.", expected="max_barrier, min_share, or both", way_out="max_barrier=0.05, say")
        if self.min_share is not None and not 0 <= self.min_share <= 1:
            raise UserError(f"min_share {self.min_share}.", expected="a share in [0, 1]")
        if not self.tolerance >= 0:
            raise UserError(f"tolerance {self.tolerance}.", expected="a number of nats, at least 0")

    def judge(self, k: int, measured: _Measured) -> Evidence:
        """Judge a :class:`~ticketdiet.landscape.barrier.Barrier` or ``Family`` measured at rewinding point ``k``."""
        mean, share = measured.mean, measured.connected_share(self.tolerance)
        low_enough = self.max_barrier is None or mean <= self.max_barrier
        enough = self.min_share is None or share >= self.min_share
        return Evidence(k, mean, share, low_enough and enough)


def bisect_connected(ks: Sequence[int], is_connected: Callable[[int], Evidence]) -> RewindAnswer:
    """Find the smallest of ``ks`` that is connected, with about log2(len(ks)) + 1 probes.

    Bisection takes it that once children are connected they stay so for every later step. Training mostly behaves like
    this, but the barrier is noisy near its threshold: the answer is exact if the verdicts are monotone in k, and
    otherwise a step that is connected right above one (``below``) that is not; bisection cannot tell which.

    Args:
        ks: Saved pre-training steps, in any order.
        is_connected: Measures at one step; it is called at most once a step.

    Returns:
        The answer; ``k`` is None when the last step is not connected.

    Raises:
        UserError: When there are no steps, a step repeats, or one is negative.
    """
    candidates = tuple(sorted(ks))
    if not candidates or len(set(candidates)) < len(candidates) or candidates[0] < 0:
        raise UserError(
            f"pre-training steps {list(ks)}.",
            expected="at least one step, each once, none negative",
            way_out="save pre-training weights at the steps to choose from",
        )
    evidence: list[Evidence] = []
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        found = is_connected(candidates[middle])
        evidence.append(found)
        low, high = (low, middle) if found.connected else (middle + 1, high)
    k = candidates[low] if low < len(candidates) else None
    below = candidates[low - 1] if low > 0 else None
    return RewindAnswer(k, below, tuple(evidence), candidates)
