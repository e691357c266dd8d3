"""Resamples and BCa intervals, against enumeration of every order and against scipy's own."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ticketdiet.reports.bootstrap import bca_interval, quantile_above, quantile_below, resamples_of

SAMPLES = st.lists(st.integers(-40, 40).map(float), min_size=2, max_size=10).map(np.array)


@pytest.mark.parametrize("n", range(1, 7))
def test_the_resamples_of_few_replicates_are_all_that_there_are(n):
    found = {}
    for order in itertools.product(range(n), repeat=n):
        counts = tuple(np.bincount(order, minlength=n))
        found[counts] = found.get(counts, 0) + n**-n
    resamples = resamples_of(n)
    ours = {
        tuple(np.rint(row * n).astype(int)): p
        for row, p in zip(resamples.weights, resamples.probabilities, strict=True)
    }
    assert len(ours) == len(resamples.probabilities)
    assert ours == pytest.approx(found)


@pytest.mark.parametrize("n", [8, 9, 20])
def test_resamples_have_the_moments_of_a_multinomial_distribution(n):
    resamples = resamples_of(n)
    assert resamples.weights.sum(axis=1) == pytest.approx(1)
    assert resamples.probabilities.sum() == pytest.approx(1)
    first = resamples.weights[:, 0]
    assert resamples.probabilities @ first == pytest.approx(1 / n, rel=0.03)
    assert resamples.probabilities @ (first - 1 / n) ** 2 == pytest.approx((1 - 1 / n) / n**2, rel=0.05)


@given(SAMPLES, st.floats(0.5, 0.999999))
def test_a_bca_interval_lies_in_the_range_and_turns_around_with_its_sample(sample, confidence):
    assume(np.ptp(sample) > 0)
    low, high = bca_interval(sample, confidence)
    assert sample.min() <= low + 1e-9
    assert low <= high
    assert high <= sample.max() + 1e-9
    if len(sample) <= 8:
        assert bca_interval(-sample, confidence) == pytest.approx([-high, -low])
        assert bca_interval(3 * sample + 7, confidence) == pytest.approx([3 * low + 7, 3 * high + 7])


@given(SAMPLES)
def test_an_interval_of_more_confidence_holds_that_of_less(sample):
    assume(np.ptp(sample) > 0)
    ends = np.array([bca_interval(sample, confidence) for confidence in (0.5, 0.8, 0.95, 0.999)])
    assert (np.diff(ends[:, 0]) <= 0).all()
    assert (np.diff(ends[:, 1]) >= 0).all()


@pytest.mark.parametrize("n", [5, 6, 8, 12, 30])
@pytest.mark.parametrize("skewed", [False, True])
def test_a_bca_interval_is_that_of_scipy(n, skewed):
    rng = np.random.default_rng(n)
    sample = rng.exponential(1, n) if skewed else rng.normal(1, 1, n)
    oracle = stats.bootstrap((sample,), np.mean, method="BCa", n_resamples=60_000, rng=0, vectorized=True)
    expected = oracle.confidence_interval
    assert bca_interval(sample, 0.95) == pytest.approx([expected.low, expected.high], abs=0.03 * np.ptp(sample))


def test_the_interval_of_three_is_their_range_by_hand():
    # The smallest of the three alone has a probability of 1/27, which is more than 2.5 %.
    assert bca_interval(np.array([1.0, 2.0, 3.0]), 0.95) == pytest.approx([1, 3])
    # 1/27 + 3/27 = 4/27 of the probability is at a mean of 4/3 or less, and 1/27 below it.
    assert bca_interval(np.array([1.0, 2.0, 3.0]), 0.8) == pytest.approx([4 / 3, 8 / 3])


def test_many_replicates_give_the_same_interval_every_time():
    sample = np.random.default_rng(0).normal(size=25)
    resamples_of.cache_clear()
    first = bca_interval(sample, 0.95)
    resamples_of.cache_clear()
    assert (bca_interval(sample, 0.95) == first).all()


def test_quantiles_of_a_discrete_distribution_by_hand():
    values, probabilities = np.array([3.0, 1.0, 2.0]), np.array([0.25, 0.25, 0.5])
    assert [quantile_below(values, probabilities, at) for at in (0, 0.2, 0.25, 0.7, 0.8, 1)] == [1, 1, 2, 2, 3, 3]
    assert [quantile_above(values, probabilities, at) for at in (0, 0.2, 0.25, 0.7, 0.8, 1)] == [3, 3, 2, 2, 1, 1]


DRAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "log-normal": lambda rng, shape: rng.lognormal(size=shape) - np.exp(0.5),
}
COVERAGE = {  # docs/methods.md: how often the interval holds the true mean, for 3, 5 and 8 replicates
    "normal": (0.73, 0.84, 0.89),
    "exponential": (0.68, 0.80, 0.86),
    "log-normal": (0.63, 0.74, 0.81),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DRAWS)
def test_intervals_cover_the_true_mean_as_often_as_the_documentation_says(kind):
    found = []
    for n in (3, 5, 8):
        samples = DRAWS[kind](np.random.default_rng(n), (20_000, n))
        intervals = np.array([bca_interval(sample, 0.95) for sample in samples])
        found.append(np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)))
    assert found == pytest.approx(COVERAGE[kind], abs=0.008)
