"""Means, spreads, intervals and correlations against scipy, numpy and hand-made numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ticketdiet.core.errors import UserError
from ticketdiet.reports.rows import final_rows, select_rows
from ticketdiet.reports.statistics import compare, correlate, estimate, summarise

VALUES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 6)), min_size=2, max_size=8)


@settings(deadline=None)
@given(VALUES)
def test_an_estimate_agrees_with_scipy(values):
    found = estimate(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95) if np.ptp(values) else (found.mean,) * 2
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(pd.Series(values).std(), abs=1e-9)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_the_spread_of_two_values_is_by_hand_their_distance_over_root_two():
    found = estimate([1.0, 3.0])
    assert found.std == pytest.approx(math.sqrt(2))
    assert found.high - found.mean == pytest.approx(12.7062, abs=1e-3)


def test_one_value_has_no_spread_and_no_value_is_refused():
    found = estimate([0.5])
    assert (found.mean, found.n) == (0.5, 1)
    assert all(math.isnan(number) for number in (found.std, found.low, found.high))
    with pytest.raises(UserError, match="a mean of no values"):
        estimate([])


def test_a_summary_has_one_row_an_arm_and_level_in_the_order_of_the_study(rows):
    summary = summarise(rows)
    assert list(summary["arm"]) == ["k=0"] * 3 + ["all@20"] * 3
    assert list(summary["density"]) == pytest.approx([1.0, 0.512, 0.262] * 2)
    assert list(summary["mean"]) == pytest.approx([0.91, 0.87, 0.80, 0.92, 0.90, 0.89])
    assert list(summary["std"]) == pytest.approx([0.01, 0.01, 0.02, 0.01, 0.01, 0.01])
    assert set(summary["n"]) == {3}


def test_only_the_last_step_of_a_level_counts(make_rows, rows):
    early = make_rows(step=10, value=0.1)
    assert summarise(pd.concat([rows, early]))["mean"].equals(summarise(rows)["mean"])


def test_pretraining_and_children_do_not_enter_a_summary_of_levels(make_rows, rows):
    pretraining = make_rows(level=None, value=0.1, kind="pretrain")
    children = make_rows(step=900, value=0.2, kind="child")
    together = pd.concat([rows.assign(kind="level"), pretraining.astype({"level": "float"}), children])
    assert summarise(together)["mean"].equals(summarise(rows)["mean"])


def test_nullable_integers_are_as_good_as_plain_ones(rows):
    nullable = rows.astype({"level": "Int64", "replicate": "Int64", "step": "Int64"})
    pd.testing.assert_frame_equal(summarise(nullable), summarise(rows))
    pd.testing.assert_frame_equal(compare(nullable, baseline="k=0"), compare(rows, baseline="k=0"))


def test_a_comparison_is_paired_by_replicate_and_agrees_with_scipy(rows):
    found = compare(rows, baseline="k=0").set_index("level").loc[1]
    own, base = [0.90, 0.91, 0.89], [0.88, 0.86, 0.87]
    oracle = stats.ttest_rel(own, base)
    assert found["difference"] == pytest.approx(np.mean(np.subtract(own, base)))
    assert found["p_value"] == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval(0.95)
    assert (found["low"], found["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_a_replicate_that_only_one_arm_has_does_not_enter_a_comparison(rows):
    without = rows[(rows["arm"] == "k=0") | (rows["replicate"] != 2)]
    found = compare(without, baseline="k=0").set_index("level").loc[0]
    assert (found["n"], found["difference"]) == (2, pytest.approx(0.01))


def test_a_constant_difference_needs_no_division_by_zero(make_rows):
    rows = make_rows({"a": [[0.5], [0.5]], "b": [[0.5], [0.5]], "c": [[0.75], [0.75]]})
    assert list(compare(rows, baseline="a")["p_value"]) == [1.0, 0.0]


def test_an_unknown_baseline_lists_the_arms(rows):
    with pytest.raises(UserError, match=r"no arm 'nope'(.|\n)*k=0, all@20"):
        compare(rows, baseline="nope")


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_a_correlation_agrees_with_scipy_and_lies_in_its_interval(kind):
    generator = np.random.default_rng(3)
    x = generator.normal(size=40).round(1)
    y = -2 * x + generator.normal(size=40)
    found = correlate(x, y, kind=kind)
    oracle = stats.pearsonr(x, y) if kind == "pearson" else stats.spearmanr(x, y)
    assert found.value == pytest.approx(oracle.statistic)
    assert -1 <= found.low < found.value < found.high < 0
    assert found == correlate(x, y, kind=kind)


def test_a_bootstrap_interval_agrees_with_that_of_scipy():
    generator = np.random.default_rng(4)
    x = generator.normal(size=60)
    y = x + generator.normal(size=60)
    found = correlate(x, y, resamples=4000)
    oracle = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False, n_resamples=1000, rng=1,
        method="percentile",
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == (pytest.approx(oracle.low, abs=0.03), pytest.approx(oracle.high, abs=0.03))


def test_a_correlation_that_is_undefined_is_nan():
    assert math.isnan(correlate([1, 2], [1, 2]).value)
    assert math.isnan(correlate([1, 1, 1], [1, 2, 3]).value)
    with pytest.raises(UserError, match="3 x values with 2 y values"):
        correlate([1, 2, 3], [1, 2])


def test_what_was_not_measured_is_named_with_what_was(rows):
    with pytest.raises(UserError, match=r"no rows of loss on test(.|\n)*accuracy on test"):
        select_rows(rows, metric="loss")
    with pytest.raises(UserError, match="without the columns density, value"):
        select_rows(rows.drop(columns=["density", "value"]))
    with pytest.raises(UserError, match="no rows of accuracy on test"):
        summarise(rows.head(0))
    with pytest.raises(UserError, match="no level has accuracy on test"):
        final_rows(rows.assign(value=math.nan))
