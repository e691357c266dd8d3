"""Paired differences, the sign-flip test and Holm's correction, against scipy, enumeration and hand-made numbers."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from ticketdiet.core.errors import UserError
from ticketdiet.reports.paired import holm, paired_difference, sign_flip_test

PAIRS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=10)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def difference(values, **options):
    """The statistics of differences alone."""
    return paired_difference(values, np.zeros(len(values)), **options)


def test_a_difference_is_declared_when_interval_and_test_agree():
    found = paired_difference([0.91, 0.93, 0.92, 0.95, 0.94, 0.92], [0.90, 0.91, 0.89, 0.91, 0.91, 0.90])
    assert found.mean == pytest.approx(0.025)
    assert (found.n, found.p_value, found.smallest_p) == (6, 2**-5, 2**-5)
    assert 0.01 < found.low < 0.025 < found.high < 0.04
    assert (found.outcome, found.reason) == ("above", "")
    assert paired_difference([1, 2, 3, 4, 5, 6], [2, 4, 6, 8, 11, 12]).outcome == "below"


def test_three_replicates_decide_nothing_however_far_apart():
    found = difference([10.0, 11.0, 12.0])
    assert found.low > 0
    assert found.outcome == "undecided"
    assert found.reason == "undecided: n = 3; the smallest p-value that 3 replicates can reach is 0.25"


@pytest.mark.parametrize(
    ("values", "p_value", "reason"),
    [
        ([1, 2, 3, 4, 5, 6], 0.19, "n = 6; p = 0.0312 becomes 0.19 by the correction for several comparisons"),
        ([1, 2, 3, 4, 5, -1], None, "n = 6; p = 0.0938"),
        ([3, 1, 2, -2, -1, -3], None, "n = 6; p = 1, and the interval contains 0"),
        ([1, 2, 3, 4, 5, -1], 0.01, ""),
        ([-3, 1, 1, 1, 1, 1, 1, 2], 0.01, "n = 8; the interval contains 0"),
        ([2, 2, 2, 2, 2, 2], None, "n = 6; the 6 differences are equal, so that there is no interval"),
        ([1, 2], None, "n = 2; an interval and a p-value need at least 3 replicates"),
        ([1], None, "n = 1; one replicate has neither a spread nor a p-value"),
        ([1, math.inf, 3], None, "n = 3; a difference is not finite"),
        (
            [0, 0, 0],
            None,
            "n = 3; the smallest p-value that 3 replicates can reach is 0.25, and the 3 differences are ",
        ),
    ],
)
def test_what_is_undecided_says_why(values, p_value, reason):
    found = difference(values, p_value=p_value)
    assert found.reason.startswith(f"undecided: {reason}" if reason else reason)
    assert (found.outcome == "undecided") == bool(reason) == bool(found.reason)


def test_the_corrected_p_value_stands_beside_that_of_the_test():
    found = difference([1, 2, 3, 4, 5, 6], p_value=0.04)
    assert (found.p_value, found.corrected_p, found.outcome) == (2**-5, 0.04, "above")
    assert difference([1, 2, 3, 4, 5, 6]).corrected_p == 2**-5


@given(PAIRS)
def test_exchanging_the_arms_turns_everything_around(pairs):
    values, others = np.array(pairs, dtype=float).T
    one, other = paired_difference(values, others), paired_difference(others, values)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low), nan_ok=True)
    assert (one.p_value, one.std) == pytest.approx((other.p_value, other.std), nan_ok=True)
    assert (one.outcome, other.outcome) in {("above", "below"), ("below", "above"), ("undecided", "undecided")}


@given(PAIRS, st.floats(0.5, 0.99))
def test_what_is_declared_has_an_interval_without_0_and_a_small_p_value(pairs, confidence):
    values, others = np.array(pairs, dtype=float).T
    found = paired_difference(values, others, confidence=confidence)
    both = (found.low > 0 or found.high < 0) and found.p_value <= 1 - confidence + 1e-9
    assert (found.outcome != "undecided") == both
    assert (found.outcome == "above") == (both and found.mean > 0)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="Got 2 values and 3 others"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(UserError, match="There are no values"):
        paired_difference([], [])
    with pytest.raises(UserError, match=r"the value 97, which is outside \[0, 1\]"):
        paired_difference([97.0], [0.9], bounds=(0, 1))
    with pytest.raises(UserError, match="confidence=95"):
        paired_difference([1, 2], [1, 2], confidence=95)


def test_differences_that_rounding_makes_unequal_are_equal():
    found = paired_difference([0.48, 0.95, 0.52], [0.46, 0.93, 0.5])
    assert (found.std, math.isnan(found.low)) == (0, True)
    assert found.p_value == found.smallest_p == 0.25


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-6, 6).map(lambda value: value / 10), min_size=2, max_size=9))
def test_the_sign_flip_test_is_that_of_scipy_ties_and_all(differences):
    oracle = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(differences) == pytest.approx(oracle.pvalue)


def test_of_many_replicates_signs_are_drawn_with_a_seed():
    differences = np.random.default_rng(0).normal(0.4, 1, 30)
    found = sign_flip_test(differences)
    oracle = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=50_000, rng=1)
    assert found == sign_flip_test(differences)
    assert found == pytest.approx(oracle.pvalue, abs=0.005)
    assert sign_flip_test(np.ones(40)) == 1 / (1 + 2**15)  # never 0


def test_the_sign_flip_test_errs_no_more_often_than_it_says():
    rng = np.random.default_rng(0)
    counts = rng.binomial(100, 0.9, size=(400, 2, 6)) / 100  # two arms that differ by chance alone
    p_values = np.array([sign_flip_test(a - b) for a, b in counts])
    assert np.mean(p_values <= 0.05) <= 0.07
    assert np.mean(p_values <= 0.25) <= 0.31


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # by hand: 0.005*4, 0.01*3, 0.03*2, 0.04*1 raised
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),  # R's p.adjust(c(.01, .02, .03), "holm")
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.2], [0.2]),
        ([0.02, math.nan, 0.04], [0.04, math.nan, 0.04]),
        ([math.nan], [math.nan]),
        ([], []),
    ],
)
def test_holms_correction_by_hand(p_values, corrected):
    assert holm(p_values) == pytest.approx(corrected, nan_ok=True)


def holm_by_its_definition(p_values, limit):
    """The comparisons that Holm's step-down procedure declares at a limit."""
    declared = set()
    for step, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] * (len(p_values) - step) > limit:
            break
        declared.add(int(place))
    return declared


@given(P_VALUES, st.floats(0.001, 0.5))
def test_corrected_p_values_declare_what_the_step_down_procedure_declares(p_values, limit):
    corrected = holm(p_values)
    assert {place for place, p in enumerate(corrected) if p <= limit} == holm_by_its_definition(p_values, limit)


@given(P_VALUES)
def test_holms_correction_keeps_the_order_and_lies_between_no_correction_and_bonferronis(p_values):
    corrected = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()
    assert (np.array(p_values) <= corrected).all()
    assert (corrected <= np.minimum(np.array(p_values) * len(p_values), 1)).all()


@given(P_VALUES, st.data())
def test_a_larger_p_value_makes_no_corrected_one_smaller(p_values, data):
    place = data.draw(st.integers(0, len(p_values) - 1))
    larger = [*p_values]
    larger[place] = data.draw(st.floats(p_values[place], 1))
    assume(larger != p_values)
    assert (holm(larger) >= holm(p_values)).all()


def test_a_p_value_outside_0_and_1_is_refused():
    with pytest.raises(UserError, match="numbers in"):
        holm([0.5, 1.5])
