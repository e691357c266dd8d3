"""Means, spreads, intervals and correlations against scipy, numpy and hand-made numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ticketdiet.core.errors import UserError
from ticketdiet.reports.bounds import bounds_of
from ticketdiet.reports.rows import final_rows, select_rows
from ticketdiet.reports.statistics import compare, estimate, summarise

VALUES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 6)), min_size=2, max_size=8)


@settings(deadline=None)
@given(VALUES)
def test_an_estimate_agrees_with_scipy(values):
    found = estimate(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95) if np.ptp(values) else (math.nan, math.nan)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(pd.Series(values).std(), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6, nan_ok=True)


def test_the_spread_of_two_values_is_by_hand_their_distance_over_root_two():
    found = estimate([1.0, 3.0])
    assert found.std == pytest.approx(math.sqrt(2))
    assert found.high - found.mean == pytest.approx(12.7062, abs=1e-3)


def test_one_value_has_no_spread_and_no_value_is_refused():
    found = estimate([0.5])
    assert (found.mean, found.n) == (0.5, 1)
    assert all(math.isnan(number) for number in (found.std, found.low, found.high))
    with pytest.raises(UserError, match="There are no values"):
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


def test_a_comparison_is_paired_by_replicate(rows):
    found = compare(rows, baseline="k=0").set_index("level").loc[1]
    own, base = [0.90, 0.91, 0.89], [0.88, 0.86, 0.87]
    assert found["difference"] == pytest.approx(np.mean(np.subtract(own, base)))
    assert found["std"] == pytest.approx(np.std(np.subtract(own, base), ddof=1))
    assert (found["mean"], found["baseline_mean"]) == pytest.approx((np.mean(own), np.mean(base)))
    assert (found["low"], found["high"]) == pytest.approx((0.02, 0.05))  # of three differences, their range
    assert (
        found["p_value"]
        == stats.permutation_test(
            (np.subtract(own, base),), np.mean, permutation_type="samples", n_resamples=np.inf
        ).pvalue
    )


def test_p_values_are_corrected_for_all_levels_and_arms_that_are_compared(make_rows):
    rng = np.random.default_rng(0)
    values = {
        arm: (centre + rng.normal(0, 0.02, size=(8, 3))).tolist()
        for arm, centre in zip("abc", (0.5, 0.55, 0.51), strict=True)
    }
    found = compare(make_rows(values), baseline="a")
    assert len(found) == 6
    order = np.argsort(found["p_value"])
    by_hand = np.minimum(np.maximum.accumulate(found["p_value"].to_numpy()[order] * np.arange(6, 0, -1)), 1)
    assert found["corrected_p"].to_numpy()[order] == pytest.approx(by_hand)
    declared = found["outcome"] != "undecided"
    assert declared.any()
    assert not declared.all()
    assert (declared == ((found["corrected_p"] <= 0.05) & ((found["low"] > 0) | (found["high"] < 0)))).all()
    one = compare(make_rows(values), baseline="a", arm="b", level=0)
    assert (one["corrected_p"] == one["p_value"]).all()


def test_six_replicates_decide_at_one_density_and_not_at_three(make_rows):
    rng = np.random.default_rng(0)
    base = rng.normal(0.8, 0.01, size=(6, 3))
    rows = make_rows({"a": base.tolist(), "b": (base + rng.uniform(0.01, 0.05, size=(6, 3))).tolist()})
    assert set(compare(rows, baseline="a", arm="b")["reason"]) == {
        "undecided: n = 6; p = 0.0312 becomes 0.0938 by the correction for several comparisons"
    }
    assert compare(rows, baseline="a", arm="b", at=0.262)["outcome"].tolist() == ["above"]


def test_a_replicate_that_only_one_arm_has_does_not_enter_a_comparison(rows):
    without = rows[(rows["arm"] == "k=0") | (rows["replicate"] != 2)]
    found = compare(without, baseline="k=0").set_index("level").loc[0]
    assert (found["n"], found["difference"]) == (2, pytest.approx(0.01))


@pytest.mark.parametrize("replicates", [2, 3, 5])
def test_equal_differences_give_no_interval_and_no_p_value_of_zero(make_rows, replicates):
    # 0.48 - 0.46 and 0.95 - 0.93 are not the same float, so a rounding error must not pass for a spread.
    base = [[0.46], [0.93], [0.5], [0.7], [0.8]][:replicates]
    more = [[round(value + 0.02, 10)] for (value,) in base]
    found = compare(make_rows({"a": base, "b": base, "c": more}), baseline="a").set_index("arm")
    assert found.loc["c", "difference"] == pytest.approx(0.02)
    assert list(found["std"]) == [0, 0]
    assert found[["low", "high"]].isna().all(axis=None)
    assert set(found["outcome"]) == {"undecided"}
    if replicates < 3:
        assert found["p_value"].isna().all()
    else:
        assert found.loc["b", "p_value"] == 1
        assert found["p_value"]["c"] == found["smallest_p"]["c"] == 2 ** (1 - replicates)


def test_equal_values_have_no_interval_of_their_mean():
    found = estimate([0.1 + 0.2, 0.3, 0.3])
    assert (found.std, found.n) == (0, 3)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.reason == "no interval: the 3 values are equal"
    assert estimate([0.3, 0.31]).reason == ""


def test_p_values_are_refused_below_three_replicates_with_a_reason(rows):
    found = compare(rows[rows["replicate"] < 2], baseline="k=0")
    assert found["p_value"].isna().all()
    assert found["smallest_p"].isna().all()
    assert all(
        reason == "undecided: n = 2; an interval and a p-value need at least 3 replicates" for reason in found["reason"]
    )
    assert found["low"].isna().all()
    one = compare(rows[rows["replicate"] == 0], baseline="k=0")
    assert one[["low", "p_value"]].isna().all(axis=None)
    assert all("n = 1; one replicate has neither" in reason for reason in one["reason"])


@pytest.mark.parametrize(("mean", "spread"), [(0.97, 0.01), (0.99, 0.006), (0.6, 0.05)])
@pytest.mark.parametrize("n", [2, 4])
def test_intervals_of_accuracies_stay_in_bounds_and_cover_the_mean(mean, spread, n):
    rng, trials = np.random.default_rng(0), 500
    size = mean * (1 - mean) / spread**2 - 1
    chances = rng.beta(mean * size, (1 - mean) * size, size=(trials, n))
    found = [estimate(rng.binomial(500, chance) / 500, bounds=(0, 1)) for chance in chances]
    intervals = np.array([(one.low, one.high) for one in found if not one.reason])
    assert len(intervals) > 0.85 * trials
    assert intervals.min() >= 0
    assert intervals.max() <= 1
    assert 0.9 <= np.mean((intervals[:, 0] <= mean) & (mean <= intervals[:, 1])) <= 1


def test_summaries_and_comparisons_keep_fractions_in_bounds(make_rows):
    rows = make_rows({"a": [[0.99], [1.0], [0.95]], "b": [[0.0], [0.02], [0.9]]})
    summary = summarise(rows).set_index("arm")
    assert summary.loc["a", "high"] == 1
    assert summary.loc["b", "low"] == 0
    with pytest.raises(UserError, match="not percent"):
        compare(rows.assign(value=100 * rows["value"]), baseline="a")
    losses = summarise(rows.assign(metric="loss"), metric="loss").set_index("arm")
    assert losses["high"]["a"] > 1
    assert losses.loc["b", "low"] == 0
    assert bounds_of("accuracy_recalibrated") == bounds_of("connected_fraction") == (0, 1)
    assert bounds_of("barrier_mean") == (-np.inf, np.inf)  # barriers may be negative


def test_numbers_out_of_bounds_and_mad_confidences_are_refused():
    with pytest.raises(UserError, match=r"the value 97, which is outside \[0, 1\](.|\n)*not percent"):
        estimate([97.0, 98.0], bounds=(0, 1))
    with pytest.raises(UserError, match="confidence=95"):
        estimate([0.5, 0.6], confidence=95)


def test_an_infinite_loss_has_no_interval_and_spoils_no_other_row(make_rows):
    rows = make_rows({"a": [[math.inf, 1.0], [2.0, 2.0], [2.5, 3.0]], "b": [[math.inf, 2.0], [1.0, 2.5], [1.0, 4.5]]})
    rows = rows.assign(metric="loss")
    compared = compare(rows, baseline="a", metric="loss").set_index("level")
    assert compared.loc[0, "reason"] == "undecided: n = 3; a difference is not finite"
    assert math.isnan(compared["p_value"][0])
    assert compared.loc[1, "difference"] == pytest.approx(1)
    assert summarise(rows, metric="loss")["reason"].tolist() == ["a value is not finite", ""] * 2


def test_one_arm_and_one_level_can_be_asked_for(make_rows):
    rows = make_rows({name: [[0.5, 0.4], [0.6, 0.5], [0.8, 0.4]] for name in "abc"})
    assert list(compare(rows, baseline="a")["arm"]) == ["b", "b", "c", "c"]
    assert list(compare(rows, baseline="a", arm="c")["level"]) == [0, 1]
    assert list(compare(rows, baseline="a", arm="c", level=1)["mean"]) == [pytest.approx(1.3 / 3)]
    apart = pd.concat([rows[rows["arm"] == "a"], make_rows({"c": [[0.1]]}).assign(replicate=9)])
    with pytest.raises(UserError, match="No replicate has accuracy on test of both c and a"):
        compare(apart, baseline="a", arm="c")


def test_of_barriers_those_over_all_pairs_are_taken(make_rows):
    pairs = make_rows({"a": [[1.0], [1.0]]}, kind="barrier", pair="parent-child1")
    families = make_rows({"a": [[3.0], [5.0]]}, kind="barrier", pair="family")
    rows = pd.concat([families, pairs]).assign(metric="barrier_mean")
    assert summarise(rows, metric="barrier_mean")["mean"].tolist() == [4.0]


def test_an_unknown_baseline_lists_the_arms(rows):
    with pytest.raises(UserError, match=r"no arm 'nope'(.|\n)*k=0, all@20"):
        compare(rows, baseline="nope")


def test_what_was_not_measured_is_named_with_what_was(rows):
    with pytest.raises(UserError, match=r"no rows of loss on test(.|\n)*accuracy on test"):
        select_rows(rows, metric="loss")
    with pytest.raises(UserError, match="lack the columns density, value"):
        select_rows(rows.drop(columns=["density", "value"]))
    with pytest.raises(UserError, match="no rows of accuracy on test"):
        summarise(rows.head(0))
    with pytest.raises(UserError, match="No level has accuracy on test"):
        final_rows(rows.assign(value=math.nan))
