"""Finds the smallest rewinding point whose children are connected, by bisection over saved pre-training steps.

Linear mode connectivity begins early in training, about where rewinding begins to work (Frankle et al.,
arXiv 1912.05671); a few pairs of children are much cheaper than an IMP sweep at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.barrier import connected_fraction
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE, check_tolerance


@dataclass(frozen=True)
class Evidence:
    """What was found at one rewinding point.

    Attributes:
        k: Pre-training steps.
        mean_barrier: Nats.
        connected_fraction: In [0, 1].
        connected: The verdict.
    """

    k: int
    mean_barrier: float
    connected_fraction: float
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
    """The rule that decides whether barriers count as connected: one limit or both; all that are set must hold.

    Attributes:
        max_barrier: Largest mean barrier, nats.
        min_fraction: Smallest fraction of connected examples, in [0, 1].
        tolerance: Barrier up to which an example counts as connected, nats.
    """

    max_barrier: float | None = None
    min_fraction: float | None = None
    tolerance: float = DEFAULT_TOLERANCE

    def __post_init__(self) -> None:
        if self.max_barrier is None and self.min_fraction is None:
            raise UserError(
                "The rule asks for nothing.",
                expected="max_barrier, min_fraction, or both",
                way_out="max_barrier=0.05, for example",
            )
        if self.min_fraction is not None and not 0 <= self.min_fraction <= 1:
            raise UserError(
                f"min_fraction is {self.min_fraction}.",
                expected="a fraction in [0, 1]",
                way_out="0.95 for 95 % of the examples",
            )
        check_tolerance(self.tolerance)

    def judge(self, k: int, per_example: Tensor) -> Evidence:
        """Judge what was measured at rewinding point ``k``.

        Args:
            k: Pre-training steps.
            per_example: Barriers of the examples in nats, (n,) or (families, n), for example those of a ``Family``.

        Returns:
            The mean barrier, the connected fraction, and whether they satisfy the rule.
        """
        mean, fraction = float(per_example.mean()), connected_fraction(per_example, self.tolerance)
        low_enough = self.max_barrier is None or mean <= self.max_barrier
        enough = self.min_fraction is None or fraction >= self.min_fraction
        return Evidence(k, mean, fraction, low_enough and enough)


def bisect_connected(ks: Sequence[int], is_connected: Callable[[int], Evidence]) -> RewindAnswer:
    """Find the smallest of ``ks`` that is connected, with about log2(len(ks)) + 1 probes.

    Bisection assumes that once children are connected they stay so for every later step. Training mostly behaves like
    this, but the barrier is noisy near its threshold: the answer is exact if the verdicts are monotone in k, and
    otherwise a step that is connected right above one (``below``) that is not; bisection cannot tell which.

    Args:
        ks: Saved pre-training steps, in any order.
        is_connected: Measures at one step; it is called at most once per step.

    Returns:
        The answer; ``k`` is None when the last step is not connected.

    Raises:
        UserError: When there are no steps, a step repeats, or one is negative.
    """
    candidates = tuple(sorted(ks))
    if not candidates or len(set(candidates)) < len(candidates) or candidates[0] < 0:
        raise UserError(
            f"The pre-training steps {list(ks)} cannot be searched.",
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
