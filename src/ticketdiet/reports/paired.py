"""The difference of two arms over paired replicates, and when it may be called a difference.

Two methods look at the paired differences: the BCa bootstrap interval of their mean (Efron 1987) and the exact
sign-flip test (Fisher 1935). A difference is declared only when both agree. The interval alone is too narrow for few
replicates: of three, a nominal 95 % interval reaches at most from the smallest difference to the largest, which holds
the true mean three times in four when the differences are symmetric. The test alone says nothing about the size.
Comparisons that are looked at together are corrected by Holm's method (1979).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.reports.bootstrap import FEWEST_REPLICATES, bca_interval
from ticketdiet.reports.bounds import EQUAL, UNBOUNDED, Bounds, check_confidence, check_sample

DifferenceOutcome = Literal["above", "below", "undecided"]
MOST_ENUMERATED = 16  # replicates: 2^15 patterns of signs; of more as many are drawn


@dataclass(frozen=True)
class PairedDifference:
    """The mean of values minus others over paired replicates, and what can be said of it.

    Attributes:
        mean: The mean difference; NaN when a difference is not finite.
        std: Sample standard deviation of the differences (ddof = 1), NaN for one pair.
        n: Number of pairs.
        low: Lower end of the BCa bootstrap interval of the mean; NaN for fewer than 3 pairs, and for equal differences.
        high: Upper end, likewise.
        p_value: Two-sided, of the exact sign-flip test, before any correction; NaN for fewer than 3 pairs.
        corrected_p: The p-value that decides: corrected for several comparisons where one was given, else ``p_value``.
        smallest_p: Least ``p_value`` that n pairs can reach, 2^(1 - n); NaN for fewer than 3 pairs.
        outcome: ``"above"`` or ``"below"`` when the interval excludes 0 and ``corrected_p`` is small enough, and
            ``"undecided"`` otherwise.
        reason: Why it is undecided, as in "undecided: n = 3; the smallest p-value that 3 replicates can reach is
            0.25"; empty when it is decided.
    """

    mean: float
    std: float
    n: int
    low: float
    high: float
    p_value: float
    corrected_p: float
    smallest_p: float
    outcome: DifferenceOutcome
    reason: str = ""


def paired_difference(
    values: ArrayLike,
    others: ArrayLike,
    *,
    confidence: float = 0.95,
    bounds: Bounds = UNBOUNDED,
    p_value: float | None = None,
) -> PairedDifference:
    """Compare two arms by their replicates, paired in order.

    Nominal 95 % intervals cover less for few replicates; docs/methods.md has measured numbers. Equal differences have
    no interval: accuracies are counts of test images, so that a few differences agree by chance.

    Args:
        values: (n,), n at least 1: the arm to judge, one value per replicate.
        others: (n,): the other arm, of the same replicates in the same order.
        confidence: Coverage that the interval aims at, in (0, 1); 1 - confidence is the largest p that declares a
            difference.
        bounds: Least and greatest value that there can be, (0, 1) for fractions.
        p_value: Corrected p-value that decides, for example one of :func:`holm`; by default that of this comparison
            alone.

    Returns:
        The mean difference, with its interval, p-value and outcome.

    Raises:
        UserError: When the lengths differ, there is no value, one is outside ``bounds``, or for a confidence outside
            (0, 1).
    """
    own, base = (np.asarray(given, dtype=np.float64).ravel() for given in (values, others))
    if own.size != base.size:
        raise UserError(
            f"Got {own.size} values and {base.size} others.",
            expected="one of each per replicate",
            way_out="keep the replicates that both arms have",
        )
    check_confidence(confidence)
    for sample in (own, base):
        check_sample(sample, bounds)
    with np.errstate(invalid="ignore"):  # infinite losses
        differences = own - base
    # A difference of two sums is rounded on the scale of the sums: equal differences do not come out equal to the bit.
    return _describe(differences, float(max(np.abs(own).max(), np.abs(base).max())), confidence, p_value)


def paired_differences(
    samples: Sequence[tuple[ArrayLike, ArrayLike]], *, confidence: float = 0.95, bounds: Bounds = UNBOUNDED
) -> list[PairedDifference]:
    """Compare several pairs of arms, or two arms at several densities, and correct for their number by :func:`holm`.

    Args:
        samples: Values and others of each comparison, as :func:`paired_difference` takes them.
        confidence: As there.
        bounds: As there.

    Returns:
        One difference per comparison, in the same order, decided by its corrected p-value.

    Raises:
        UserError: As :func:`paired_difference`.
    """
    alone = [paired_difference(*sample, confidence=confidence, bounds=bounds) for sample in samples]
    corrected = holm([one.p_value for one in alone])
    return [
        paired_difference(*sample, confidence=confidence, bounds=bounds, p_value=float(p))
        for sample, p in zip(samples, corrected, strict=True)
    ]


def _describe(
    differences: NDArray[np.float64], scale: float, confidence: float, given: float | None
) -> PairedDifference:
    n, none = int(differences.size), np.nan
    smallest = none if n < FEWEST_REPLICATES else 2.0 ** (1 - n)
    if not np.isfinite(differences).all():
        reason = f"undecided: n = {n}; a difference is not finite"
        return PairedDifference(none, none, n, none, none, none, none, smallest, "undecided", reason)
    mean = float(differences.mean())
    if n == 1:
        reason = "undecided: n = 1; one replicate has neither a spread nor a p-value"
        return PairedDifference(mean, none, n, none, none, none, none, none, "undecided", reason)
    equal = bool(np.ptp(differences) <= EQUAL * scale)
    std = 0.0 if equal else float(differences.std(ddof=1))
    if n < FEWEST_REPLICATES:
        reason = f"undecided: n = {n}; an interval and a p-value need at least {FEWEST_REPLICATES} replicates"
        return PairedDifference(mean, std, n, none, none, none, none, none, "undecided", reason)
    low, high = (none, none) if equal else map(float, bca_interval(differences, confidence))
    own_p = sign_flip_test(differences, scale=scale)
    p = own_p if given is None else float(given)
    holds_zero = low <= EQUAL * scale and high >= -EQUAL * scale
    doubts = [*_doubts_of_test(n, own_p, p, 1 - confidence)]
    doubts += [f"the {n} differences are equal, so that there is no interval"] if equal else []
    doubts += ["the interval contains 0"] if holds_zero else []
    reason = f"undecided: n = {n}; {', and '.join(doubts)}" if doubts else ""
    outcome: DifferenceOutcome = "undecided" if reason else "above" if mean > 0 else "below"
    return PairedDifference(mean, std, n, low, high, own_p, p, smallest, outcome, reason)


def _doubts_of_test(n: int, own_p: float, p: float, limit: float) -> list[str]:
    """Say why the test declares no difference, if it does not."""
    smallest = 2.0 ** (1 - n)
    if p <= limit + EQUAL:
        return []
    if smallest > limit + EQUAL:
        return [f"the smallest p-value that {n} replicates can reach is {smallest:.3g}"]
    if own_p > limit + EQUAL:
        return [f"p = {own_p:.3g}"]
    return [f"p = {own_p:.3g} becomes {p:.3g} by the correction for several comparisons"]


def sign_flip_test(differences: ArrayLike, *, scale: float | None = None, seed: int = 0) -> float:
    """Return the two-sided p-value of the sign-flip test of a mean of 0 (Fisher 1935).

    When an arm makes no difference, the sign of each paired difference is random. The p-value is the fraction of
    all patterns of signs whose mean is at least as far from 0 as the one seen: exact, and at least 2^(1 - n) for n
    differences. For more than 16 differences 2^15 patterns are drawn, and the one seen is counted with them.

    Args:
        differences: (n,), n at least 1.
        scale: Size of the numbers that were subtracted, for what counts as equal; by default of the differences.
        seed: Seed of the drawing.
    """
    sample = np.asarray(differences, dtype=np.float64).ravel()
    slack = EQUAL * (float(np.abs(sample).max()) if scale is None else scale) * sample.size
    seen = abs(sample.sum()) - slack
    if sample.size <= MOST_ENUMERATED:
        # The first sign may stay: changing all of them gives the same distance from 0.
        signs = np.array([(1, *others) for others in itertools.product((1, -1), repeat=sample.size - 1)])
        return float(np.mean(np.abs(signs @ sample) >= seen))
    shape = (2 ** (MOST_ENUMERATED - 1), sample.size)
    signs = numpy_generator(seed, "sign_flip").integers(0, 2, size=shape) * 2 - 1
    return float((1 + np.sum(np.abs(signs @ sample) >= seen)) / (1 + len(signs)))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values of comparisons that are looked at together (Holm 1979).

    Whatever differences there are in truth, the chance that any comparison without one gets a corrected p-value of at
    most a is at most a. The smallest of m p-values is multiplied by m, the next by m - 1, and so on; none becomes
    smaller than one before it, or larger than 1.

    Args:
        p_values: (m,), each in [0, 1], or NaN where there is no test.

    Returns:
        float64 (m,): the corrected p-values in the same order. NaN stays NaN and does not count as a comparison.

    Raises:
        UserError: When a p-value is outside [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64).ravel()
    tested = np.flatnonzero(~np.isnan(given))
    if ((given[tested] < 0) | (given[tested] > 1)).any():
        raise UserError(f"Got the p-values {given}.", expected="numbers in [0, 1], or NaN", way_out="check the test")
    order = tested[np.argsort(given[tested], kind="stable")]
    corrected = np.full_like(given, np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return corrected
