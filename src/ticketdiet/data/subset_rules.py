"""The kinds of subset: one small rule per kind, over a pool of candidates with scores and seeded keys.

Scores are oriented so that high means hard. Equal scores are ordered by a seeded permutation, because integer scores
tie in the tens of thousands and the order of a data set is often an order of classes. Every rule follows one fixed
order of the examples under a seed, so that subsets nest: the 512 easiest contain the 256 easiest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import numpy_generator

SUBSETS: Registry[type[SubsetRule]] = Registry("subset")


class Draws:
    """Uniform random keys, one per example of the whole data set, drawn once for each role from a seed."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count
        self._drawn: dict[str, np.ndarray] = {}

    def of(self, role: str) -> np.ndarray:
        """Return float64 of shape (n,) in [0, 1), a pure function of seed and role."""
        if role not in self._drawn:
            self._drawn[role] = numpy_generator(self._seed, "subset", role).random(self._count)
        return self._drawn[role]

    def order(self, role: str, count: int, part: int = 0) -> np.ndarray:
        """Return a permutation of ``range(count)``: which parts get the remainder of a division, in this order."""
        return numpy_generator(self._seed, "subset", role, part).permutation(count)


@dataclass(frozen=True, eq=False)
class Pool:
    """What a rule picks from: all candidates, or those of one class when the subset is balanced.

    Attributes:
        members: int32 or int64 of shape (m,): the candidates, ascending indices into the data set.
        scores: Float of shape (m,), or None when no scores were given.
        draws: Random keys of the whole data set.
        part: The class of a balanced subset's part, -1 for the whole.
        offset: Start of a window in the ascending order of this pool.
        strata: Number of score quantiles of a stratified subset.
        mix: Fraction of a mixture that is easiest.
        indices: Explicit indices into the data set, or None.
    """

    members: np.ndarray
    scores: np.ndarray | None
    draws: Draws
    part: int = -1
    offset: int = 0
    strata: int = 50
    mix: float = 0.5
    indices: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.members)

    def keys(self, role: str) -> np.ndarray:
        """Random keys of the candidates for ``role``: float64 of shape (m,)."""
        drawn = self.draws.of(role)
        return drawn if len(drawn) == len(self) else drawn[self.members]

    def lowest(self, count: int) -> np.ndarray:
        """Bool of shape (m,): the ``count`` lowest scores, ties by the seeded permutation."""
        assert self.scores is not None
        return _lowest(self.scores, self.keys("ties"), count)


class SubsetRule:
    """A kind of subset. Override ``pick``; register the class under a name in ``SUBSETS``."""

    needs_scores = False
    sized = True

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Return bool of shape (m,) that is true for exactly ``size`` candidates (any number when not ``sized``)."""
        raise NotImplementedError


@SUBSETS.register("all")
class All(SubsetRule):
    """Every candidate; ``size`` does not apply."""

    sized = False

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick everything."""
        return np.ones(len(pool), dtype=bool)


@SUBSETS.register("indices")
class Explicit(SubsetRule):
    """The indices that were given; ``size`` does not apply."""

    sized = False

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick the given indices."""
        if pool.indices is None:
            raise DataError(
                "Got no indices for a subset of kind 'indices'.",
                expected="indices=[...]",
                way_out="give the indices, or use another kind",
            )
        named: np.ndarray = np.isin(pool.members, pool.indices)
        return named


@SUBSETS.register("random")
class Random(SubsetRule):
    """A uniform draw without replacement."""

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick the lowest random keys."""
        return _lowest_keys(pool.keys("random"), size)


@SUBSETS.register("easiest")
class Easiest(SubsetRule):
    """The lowest scores."""

    needs_scores = True

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick the start of the ascending order."""
        return pool.lowest(size)


@SUBSETS.register("hardest")
class Hardest(SubsetRule):
    """The highest scores: the other end of the order of ``easiest``."""

    needs_scores = True

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick the end of the ascending order."""
        return ~pool.lowest(len(pool) - size)


@SUBSETS.register("window")
class Window(SubsetRule):
    """Ranks ``[offset, offset + size)`` of the ascending order."""

    needs_scores = True

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick consecutive ranks of the ascending order."""
        end = pool.offset + size
        if not 0 <= pool.offset <= end <= len(pool):
            raise DataError(
                f"The window from rank {pool.offset} to {end} does not fit into {len(pool)} candidates.",
                expected=f"0 <= offset and offset + size <= {len(pool)}",
                way_out=f"choose an offset of at most {max(len(pool) - size, 0)}, or a smaller size",
            )
        inside: np.ndarray = pool.lowest(end) & ~pool.lowest(pool.offset)
        return inside


@SUBSETS.register("stratified")
class Stratified(SubsetRule):
    """The same number of random examples from each quantile of the scores.

    The idea is that of coverage-centric selection (Zheng et al. 2023, arXiv 2210.15809). Their strata have equal width
    in the score; ours have equal numbers of examples, so that +inf and heavy tails need no special case.
    """

    needs_scores = True

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick at random within every stratum of the ascending order."""
        assert pool.scores is not None
        strata = min(pool.strata, len(pool))
        bounds = np.arange(strata + 1) * len(pool) // strata
        stratum = _quantile_strata(pool.scores, pool.keys("ties"), bounds[1:-1])
        quotas = divide_evenly(size, np.diff(bounds), pool.draws.order("strata", strata, pool.part))
        keys = pool.keys("stratified")
        picked = np.zeros(len(pool), dtype=bool)
        for members, quota in zip(_groups(stratum), quotas, strict=True):
            picked[members] = _lowest_keys(keys[members], int(quota))
        return picked


@SUBSETS.register("mixture")
class Mixture(SubsetRule):
    """A fraction ``mix`` of the size from the easiest, and the rest at random from the remaining candidates."""

    needs_scores = True

    def pick(self, pool: Pool, size: int) -> np.ndarray:
        """Pick the easiest, then at random among the others."""
        easy = math.floor(pool.mix * size + 0.5)
        picked = pool.lowest(easy)
        picked |= _lowest_keys(pool.keys("random"), size - easy, among=~picked)
        return picked


def divide_evenly(total: int, capacities: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Divide ``total`` evenly over parts of limited capacity.

    The remainder goes to the first parts of ``order`` that have room, and what does not fit into a full part goes to
    the others. No quota shrinks when ``total`` grows, which is why subsets of growing size nest.

    Args:
        total: Number to divide, at most the sum of the capacities.
        capacities: Integers of shape (parts,).
        order: A permutation of ``range(parts)``.

    Returns:
        int64 of shape (parts,): the quotas, which sum to ``total``.
    """
    assert 0 <= total <= capacities.sum()
    low, high = 0, int(capacities.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(capacities, middle).sum() <= total else (low, middle - 1)
    quotas: np.ndarray = np.minimum(capacities, low).astype(np.int64)
    roomy = order[capacities[order] > low]
    quotas[roomy[: total - int(quotas.sum())]] += 1
    return quotas


def _lowest(values: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """Bool that is true for the ``count`` lowest in the order (value, key), without sorting."""
    if count <= 0 or count >= len(values):
        return _lowest_keys(keys, count)
    threshold = np.partition(values, count - 1)[count - 1]
    picked: np.ndarray = values < threshold
    tied = np.flatnonzero(values == threshold)
    picked[tied] = _lowest_keys(keys[tied], count - int(np.count_nonzero(picked)))
    return picked


def _lowest_keys(keys: np.ndarray, count: int, among: np.ndarray | None = None) -> np.ndarray:
    """Bool that is true for the ``count`` lowest keys, of all or of those where ``among`` is true."""
    candidates = keys.copy() if among is None else keys[among]
    if not 0 < count < len(candidates):
        return np.full(len(keys), count > 0) if among is None else among & (count > 0)
    candidates.partition(count - 1)
    picked: np.ndarray = keys <= candidates[count - 1]
    if among is not None:
        picked &= among
    if np.count_nonzero(picked) > count:  # two keys are equal at the cut
        positions = np.arange(len(keys)) if among is None else np.flatnonzero(among)
        picked[:] = False
        picked[positions[np.argpartition(keys[positions], count - 1)[:count]]] = True
    return picked


def _quantile_strata(values: np.ndarray, keys: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return how many of ``bounds`` (ascending, distinct) the rank of each example by (value, key) reaches.

    Only the values at the bounds are ranked; examples that equal one of them are split by their keys.

    Returns:
        uint8 or uint16 of shape (m,).
    """
    numbers = np.uint8 if len(bounds) < 256 else np.uint16
    if not len(bounds):
        return np.zeros(len(values), dtype=numbers)
    cuts = np.partition(values, bounds)[bounds]
    stratum: np.ndarray = np.searchsorted(cuts, values).astype(numbers)
    reached = np.cumsum(np.bincount(stratum, minlength=len(bounds) + 1))
    at_cut = np.flatnonzero(np.append(cuts, cuts.dtype.type(np.nan))[stratum] == values)
    for tied in _groups(stratum[at_cut]):
        tied = at_cut[tied]
        below = int(reached[stratum[tied[0]]]) - len(tied)
        inner = bounds[(bounds > below) & (bounds < below + len(tied))] - below
        if len(inner):
            tied = tied[np.argpartition(keys[tied], inner)]
        first = int(np.searchsorted(bounds, below, side="right"))
        for number, (start, end) in enumerate(pairwise([0, *inner, len(tied)]), first):
            stratum[tied[start:end]] = number
    return stratum


def _groups(numbers: np.ndarray) -> list[np.ndarray]:
    """Positions of each number that occurs, ascending."""
    counts = np.bincount(numbers)
    # numpy sorts small integers by radix when the sort is stable, in linear time.
    return np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts[counts > 0])[:-1])
