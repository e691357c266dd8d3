"""Matching densities and areas between curves, against curves with known answers and enumeration."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from ticketdiet.core.errors import UserError
from ticketdiet.reports.bootstrap import bca_interval
from ticketdiet.reports.curves import area_between, matching_density

DENSITIES = (1.0, 0.512, 0.262)


def test_the_sparsest_density_within_the_margin_matches(make_rows):
    rows = make_rows({"a": [[0.90, 0.90, 0.80], [0.92, 0.91, 0.85], [0.91, 0.92, 0.80]]})
    found = matching_density(rows, arm="a", margin=0.01)
    assert (found.density, found.level, found.n) == (0.512, 1, 3)
    assert found.dense == pytest.approx(0.91)
    assert (found.gaps, found.is_sparsest, found.reason, found.reference) == ((), False, "", "a")
    assert matching_density(rows, arm="a", margin=0.1).is_sparsest
    assert matching_density(rows, arm="a", margin=0.0).level == 1  # 0.91 is as good as 0.91


def test_a_level_that_fails_before_one_that_matches_is_named(make_rows):
    rows = make_rows({"a": [[0.90, 0.85, 0.90]] * 3})
    found = matching_density(rows, arm="a")
    assert (found.level, found.gaps) == (2, (1,))


def test_the_dense_networks_of_another_arm_can_be_matched_or_missed(make_rows):
    rows = make_rows({"a": [[0.90, 0.80, 0.70]] * 3, "b": [[0.79, 0.69, 0.50]] * 3})
    assert matching_density(rows, arm="a", reference="b").density == 0.512
    found = matching_density(rows, arm="b", reference="a")
    assert (found.density, found.level, found.low, found.high) == (math.inf, None, math.inf, math.inf)
    assert found.reason == "no density is within 0.005 of the dense networks of a"
    assert not found.is_sparsest


def test_of_losses_less_is_better(make_rows):
    rows = make_rows({"a": [[0.30, 0.20, 0.50]] * 3}).assign(metric="loss")
    assert matching_density(rows, arm="a", metric="loss").density == 0.512
    with pytest.raises(UserError, match="unknown metric with a matching density 'barrier_mean'"):
        matching_density(rows, arm="a", metric="barrier_mean")


VALUES = st.lists(st.tuples(*[st.integers(80, 95).map(lambda one: one / 100)] * 3), min_size=3, max_size=5)


@settings(max_examples=30)
@given(VALUES, st.sampled_from([0.0, 0.02, 0.05]))
def test_the_interval_is_that_of_every_draw_of_replicates(values, margin):
    table = np.array(values)
    drawn = []
    for order in itertools.product(range(len(values)), repeat=len(values)):
        means = table[list(order)].mean(axis=0)
        drawn.append(DENSITIES[max(np.flatnonzero(means >= means[0] - margin - 1e-9))])
    draws = np.sort(drawn)
    rows = pd.DataFrame(
        {"study": "s", "arm": "a", "replicate": who, "level": level, "density": DENSITIES[level], "step": 1}
        | {"metric": "accuracy", "split": "test", "value": value, "address": ""}
        for who, levels in enumerate(values)
        for level, value in enumerate(levels)
    )
    found = matching_density(rows, arm="a", margin=margin)
    outside = 0.025 * len(draws)
    assert (draws < found.low - 1e-9).sum() <= outside + 1e-6 < (draws <= found.low).sum() + 1e-3
    assert (draws > found.high + 1e-9).sum() <= outside + 1e-6 < (draws >= found.high).sum() + 1e-3
    assert found.low <= found.high


def test_only_replicates_with_every_level_enter_a_matching_density(rows, make_rows):
    found = matching_density(rows.drop(rows[(rows["replicate"] == 2) & (rows["level"] == 2)].index), arm="all@20")
    assert found.n == 2
    assert found.reason == "n = 2: an interval needs at least 3 replicates"
    assert math.isnan(found.low)
    with pytest.raises(UserError, match="No replicate has accuracy on test at every level of all@20"):
        matching_density(rows[(rows["level"] > 0) | (rows["arm"] == "k=0")], arm="all@20")


def test_a_loss_that_is_infinite_matches_nothing(make_rows):
    rows = make_rows({"a": [[1.0, 1.0, math.inf], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}).assign(metric="loss")
    assert matching_density(rows, arm="a", metric="loss").level == 1


def test_mad_questions_are_refused(rows):
    with pytest.raises(UserError, match="margin=-1"):
        matching_density(rows, arm="k=0", margin=-1)
    with pytest.raises(UserError, match="unknown arm 'nope'"):
        matching_density(rows, arm="nope")
    with pytest.raises(UserError, match="unknown arm 'nope'"):
        area_between(rows, arm="k=0", baseline="nope")


def test_curves_at_a_constant_distance_have_it_as_their_area(make_rows):
    rows = make_rows({"a": [[0.9, 0.8, 0.7], [0.8, 0.7, 0.6]], "b": [[0.8, 0.7, 0.6], [0.7, 0.6, 0.5]]})
    found = area_between(rows, arm="a", baseline="b")
    assert found.difference.mean == pytest.approx(0.1)
    assert found.difference.std == 0
    assert found.densities == pytest.approx(DENSITIES)


def test_a_distance_that_is_linear_in_log_density_has_its_middle_as_area(make_rows):
    logs = np.log(DENSITIES)
    line = (0.1 * logs / logs[-1]).tolist()  # from 0 to 0.1
    found = area_between(make_rows({"a": [line] * 3, "b": [[0.0] * 3] * 3}), arm="a", baseline="b")
    assert found.difference.mean == pytest.approx(0.05)


def test_areas_are_paired_by_replicate_and_agree_with_scipy(rows):
    found = area_between(rows, arm="all@20", baseline="k=0").difference
    final = rows.set_index(["arm", "replicate", "level"])["value"]
    logs = np.log(DENSITIES)
    by_scipy = [
        trapezoid((final["all@20"][who] - final["k=0"][who]).to_numpy(), logs) / (logs[-1] - logs[0])
        for who in range(3)
    ]
    assert found.mean == pytest.approx(np.mean(by_scipy))
    assert found.std == pytest.approx(np.std(by_scipy, ddof=1))
    assert (found.low, found.high) == pytest.approx(bca_interval(np.array(by_scipy), 0.95))
    assert (found.n, found.outcome) == (3, "undecided")
    turned = area_between(rows, arm="k=0", baseline="all@20").difference
    assert turned.mean == pytest.approx(-found.mean)


def test_only_replicates_with_all_densities_enter_an_area(rows):
    without = rows.drop(rows[(rows["arm"] == "k=0") & (rows["replicate"] == 1) & (rows["level"] == 2)].index)
    assert area_between(without, arm="all@20", baseline="k=0").difference.n == 2
    with pytest.raises(UserError, match="at two or more densities"):
        area_between(rows[rows["level"] == 0], arm="all@20", baseline="k=0")
    with pytest.raises(UserError, match="at two or more densities"):
        area_between(rows[(rows["arm"] == "k=0") == (rows["level"] == 0)], arm="all@20", baseline="k=0")


def test_the_baseline_may_come_from_another_study(rows):
    other = rows[rows["arm"] == "k=0"].assign(study="other", arm="base")
    found = area_between(rows, arm="all@20", baseline="base", others=other)
    assert found == area_between(rows, arm="all@20", baseline="k=0")
