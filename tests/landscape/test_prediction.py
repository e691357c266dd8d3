import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.landscape.prediction import predict


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=30))
def test_both_correlations_are_scipys(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, dtype=float).T
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    found = predict(x, y, resamples=20)
    assert found.pearson.value == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)
    assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


def test_a_falling_line_is_predicted_perfectly() -> None:
    x = np.linspace(0, 3, 12)
    found = predict(x, 0.9 - 0.01 * x)
    for correlation in (found.pearson, found.spearman):
        assert correlation.value == pytest.approx(-1)
        assert correlation.low == pytest.approx(-1)
        assert correlation.high == pytest.approx(-1)
    assert found.points == 12


def test_the_interval_covers_the_true_correlation_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(150):
        x = rng.normal(size=60)
        found = predict(x, 0.6 * x + 0.8 * rng.normal(size=60), resamples=200, confidence=0.9, seed=trial).pearson
        covered += found.low <= 0.6 <= found.high
    assert 0.8 <= covered / 150 <= 0.97


def test_the_same_call_twice_gives_the_same_numbers() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 20))
    assert predict(x, y, seed=3) == predict(x, y, seed=3)
    assert predict(x, y, seed=3) != predict(x, y, seed=4)


def test_a_constant_has_no_correlation() -> None:
    found = predict([1.0, 1.0, 1.0], [0.1, 0.2, 0.3])
    assert all(math.isnan(v) for c in (found.pearson, found.spearman) for v in (c.value, c.low, c.high))


def test_scales_near_the_ends_of_the_floats_do_no_harm() -> None:
    x = np.array([1.0, 2.0, 4.0, 3.0])
    assert predict(x * 1e-200, x * 1e200).pearson.value == pytest.approx(1)


def test_mistakes_are_refused() -> None:
    with pytest.raises(DataError, match="at least 3"):
        predict([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(DataError, match="shape"):
        predict([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(DataError, match="finite"):
        predict([1.0, 2.0, np.nan], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="confidence"):
        predict([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], confidence=1.0)
