import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr, t

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.reports.prediction import compare_predictors, predict


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=30))
def test_both_correlations_are_scipys(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, dtype=float).T
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    found = predict(x, y)
    assert found.pearson.value == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)
    assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_an_interval_is_the_jackknife_over_arms_written_out(kind: str) -> None:
    x, y, arms = in_arms(7, 3, -0.6, 0.5, np.random.default_rng(2))
    coefficient = pearsonr if kind == "pearson" else spearmanr
    without = np.arctanh([coefficient(x[arms != arm], y[arms != arm]).statistic for arm in range(7)])
    error = np.sqrt(6 * without.var(ddof=0))  # (arms - 1) / arms times the sum of squares
    centre = np.arctanh(coefficient(x, y).statistic)
    low, high = np.tanh([centre - t.ppf(0.975, 6) * error, centre + t.ppf(0.975, 6) * error])
    found = getattr(predict(x, y, arms=list(arms)), kind)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert -1 < found.low < found.value < found.high < 1


def in_arms(arms: int, replicates: int, correlation: float, shared: float, rng: np.random.Generator) -> tuple:
    """x and y of that correlation, of which arms share that part of the variance."""
    root = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    arm = np.repeat(np.arange(arms), replicates)
    own = rng.normal(size=(len(arm), 2)) @ root.T
    x, y = (np.sqrt(shared) * (rng.normal(size=(arms, 2)) @ root.T)[arm] + np.sqrt(1 - shared) * own).T
    return x, y, arm


@pytest.mark.parametrize("correlation", [0.0, -0.7])
@pytest.mark.parametrize(("arms", "replicates"), [(5, 2), (6, 4), (10, 4)])
def test_the_interval_covers_the_true_correlation_of_points_that_depend_on_their_arm(
    arms: int, replicates: int, correlation: float
) -> None:
    """A bootstrap over points covers 0.79, 0.71 and 0.72 here; 0.95 is meant."""
    rng, trials = np.random.default_rng(0), 300
    covered = 0
    for _ in range(trials):
        x, y, arm = in_arms(arms, replicates, correlation, 0.8, rng)
        found = predict(x, y, arms=arm).pearson
        covered += found.low <= correlation <= found.high
    assert 0.91 <= covered / trials <= 0.99


def test_independent_points_are_arms_of_their_own() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(150):
        x = rng.normal(size=30)
        found = predict(x, 0.6 * x + 0.8 * rng.normal(size=30), confidence=0.9)
        assert found.arms == found.points == 30
        covered += found.pearson.low <= 0.6 <= found.pearson.high
    assert 0.83 <= covered / 150 <= 0.96


def test_few_arms_have_no_interval_and_say_so() -> None:
    x, y, arms = in_arms(4, 5, -0.7, 0.8, np.random.default_rng(0))
    found = predict(x, y, arms=list(arms))
    assert (found.points, found.arms) == (20, 4)
    for correlation in (found.pearson, found.spearman):
        assert math.isfinite(correlation.value)
        assert math.isnan(correlation.low)
        assert math.isnan(correlation.high)
        assert correlation.reason == "4 arms: an interval needs at least 5"


def test_points_on_one_line_have_no_interval_of_width_zero() -> None:
    x = np.linspace(0, 3, 12)
    found = predict(x, 0.9 - 0.01 * x)
    for correlation in (found.pearson, found.spearman):
        assert correlation.value == pytest.approx(-1)
        assert math.isnan(correlation.low)
        assert "one line or in one order" in correlation.reason
    assert found.points == 12


def test_a_constant_has_no_correlation() -> None:
    found = predict([1.0, 1.0, 1.0], [0.1, 0.2, 0.3])
    assert all(math.isnan(v) for c in (found.pearson, found.spearman) for v in (c.value, c.low, c.high))
    assert found.pearson.reason == "x or y is constant"
    all_but_one = predict([1.0, 1, 1, 1, 1, 2], [1.0, 2, 3, 4, 5, 6]).pearson
    assert math.isfinite(all_but_one.value)
    assert all_but_one.reason == "without one of the arms, x or y is constant"


def test_scales_near_the_ends_of_the_floats_do_no_harm() -> None:
    x = np.array([1.0, 2.0, 4.0, 3.0])
    assert predict(x * 1e-200, x * 1e200).pearson.value == pytest.approx(1)


class TestComparison:
    def test_the_advantage_is_the_difference_of_absolute_correlations(self) -> None:
        rng = np.random.default_rng(5)
        y, arms = rng.normal(size=24), np.repeat(np.arange(8), 3)
        first, second = -2 * y + rng.normal(size=24), y + 2 * rng.normal(size=24)
        found = compare_predictors(first, second, y, arms=list(arms))
        assert found.value == pytest.approx(abs(pearsonr(first, y).statistic) - abs(pearsonr(second, y).statistic))
        assert found.low < found.value < found.high
        swapped = compare_predictors(second, first, y, arms=list(arms))
        assert [swapped.low, swapped.high] == pytest.approx([-found.high, -found.low])

    @pytest.mark.parametrize(("one", "other", "fewest"), [(-0.7, 0.7, 0.94), (-0.8, 0.4, 0.88)])
    def test_its_interval_covers_the_true_difference(self, one: float, other: float, fewest: float) -> None:
        root = np.linalg.cholesky([[1, one, other], [one, 1, one * other], [other, one * other, 1]])
        rng, covered, trials, arms = np.random.default_rng(1), 0, 200, np.repeat(np.arange(8), 3)
        for _ in range(trials):
            shared, own = (rng.normal(size=(size, 3)) @ root.T for size in (8, 24))
            y, first, second = (np.sqrt(0.8) * shared[arms] + np.sqrt(0.2) * own).T
            found = compare_predictors(first, second, y, arms=list(arms))
            covered += found.low <= abs(one) - abs(other) <= found.high
        assert fewest <= covered / trials <= 1

    def test_a_predictor_has_no_advantage_over_itself_and_no_interval_of_width_zero(self) -> None:
        x, y, arms = in_arms(8, 3, -0.6, 0.8, np.random.default_rng(0))
        found = compare_predictors(x, x, y, arms=arms, kind="spearman")
        assert found.value == 0
        assert math.isnan(found.low)
        assert found.reason == "leaving out an arm changes nothing"

    def test_few_arms_have_no_interval(self) -> None:
        x, y, arms = in_arms(4, 3, -0.6, 0.8, np.random.default_rng(0))
        assert math.isnan(compare_predictors(x, x**3, y, arms=list(arms)).high)


def test_mistakes_are_refused() -> None:
    with pytest.raises(DataError, match="at least 3"):
        predict([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(DataError, match="shape"):
        predict([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(DataError, match="finite"):
        predict([1.0, 2.0, np.nan], [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="2 arms for 3 points"):
        predict([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], arms=["a", "b"])
    with pytest.raises(UserError, match="confidence"):
        predict([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], confidence=1.0)
    with pytest.raises(DataError, match="finite"):
        compare_predictors([1.0, 2.0, 3.0], [1.0, math.inf, 3.0], [1.0, 2.0, 3.0])
