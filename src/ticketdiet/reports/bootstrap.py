"""The bootstrap over replicates: which replicates each resample draws, and the BCa interval of a mean.

Of up to 8 replicates every resample is enumerated, each with its probability, so that the interval is that of
infinitely many resamples and depends on no seed (the exact bootstrap; Fisher and Hall 1991). Of more replicates 9 999
resamples are drawn with a seed of their own. The interval is bias-corrected and accelerated (Efron 1987).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, ndtri

from ticketdiet.core.seeds import numpy_generator
from ticketdiet.reports.bounds import EQUAL

Floats = NDArray[np.float64]
MOST_ENUMERATED = 8  # replicates: 6 435 different resamples
DRAWN = 9_999  # resamples of more replicates
FEWEST_REPLICATES = 3  # the interval of two would be from one to the other, which holds the true mean half of the time


@dataclass(frozen=True, eq=False)
class Resamples:
    """Resamples of n replicates.

    Attributes:
        weights: float64 (resamples, n): the fraction of each resample that is each replicate; rows add up to 1.
        probabilities: float64 (resamples,), adding up to 1.
    """

    weights: Floats
    probabilities: Floats


@cache
def resamples_of(n: int) -> Resamples:
    """Return the resamples of n replicates: all different ones with their probabilities, or those that are drawn.

    Args:
        n: Number of replicates, at least 1.
    """
    if n <= MOST_ENUMERATED:
        drawn = np.array(list(itertools.combinations_with_replacement(range(n), n)))
    else:
        drawn = numpy_generator(0, "bootstrap", n).integers(0, n, size=(DRAWN, n))
    counts = (drawn[:, :, None] == np.arange(n)).sum(axis=1)
    if n > MOST_ENUMERATED:
        return Resamples(counts / n, np.full(DRAWN, 1 / DRAWN))
    orders = gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)  # in how many orders it can be drawn, as a logarithm
    return Resamples(counts / n, np.exp(orders - n * np.log(n)))


def quantile_below(values: Floats, probabilities: Floats, fraction: float) -> float:
    """Return the greatest value below which there is at most ``fraction`` of the probability."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(probabilities[order])
    place = int(np.searchsorted(cumulative, fraction + EQUAL, side="right"))
    return float(values[order[min(place, len(values) - 1)]])


def quantile_above(values: Floats, probabilities: Floats, fraction: float) -> float:
    """Return the least value above which there is at most ``fraction`` of the probability."""
    return -quantile_below(-values, probabilities, fraction)


def bca_interval(sample: Floats, confidence: float) -> Floats:
    """Return both ends of the BCa bootstrap interval of a mean.

    Args:
        sample: (n,), n at least 2, finite and not all equal.
        confidence: Coverage that the interval aims at, in (0, 1).

    Returns:
        float64 (2,): the lower and the upper end. Both lie within the range of the sample.
    """
    resamples = resamples_of(len(sample))
    mean, means = sample.mean(), resamples.weights @ sample
    slack = EQUAL * np.ptp(sample)
    below = resamples.probabilities[means < mean - slack].sum()
    equal = resamples.probabilities[np.abs(means - mean) <= slack].sum()
    bias = ndtri(below + equal / 2)
    centred = (sample - mean) / np.ptp(sample)
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    normal = ndtri((1 + confidence) / 2)
    ends = []
    for sign, quantile in ((-1, quantile_below), (1, quantile_above)):
        moved = bias + sign * normal
        # At a confidence of practically 1 the formula has a pole, and beyond it the end of the range is meant.
        shifted = bias + moved / max(1 - acceleration * moved, EQUAL)
        ends.append(quantile(means, resamples.probabilities, float(ndtr(-sign * shifted))))
    return np.array(ends)
