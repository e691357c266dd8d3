"""The pace of a study by hand: overlapping work, pauses, and what is weighed by what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.reports.pace import Timing, measure_pace, seconds_left
from ticketdiet.studies.network import Cost


@pytest.fixture(scope="module")
def stages(plan_tiny):
    """Stages by kind, each training of 10 operations and 100 examples."""
    found = {}
    for stage in plan_tiny("children=2").stages.values():
        trains = stage.cost.steps > 0
        found.setdefault(stage.kind, []).append(replace(stage, cost=Cost(5, 100, 10) if trains else Cost()))
    return found


def test_before_the_first_result_nothing_is_known(stages):
    assert measure_pace([]) is None
    assert seconds_left([], dict.fromkeys(stages["level"], 1.0)) is None
    assert seconds_left([], {}) == 0.0


def test_two_at_once_are_twice_as_fast_and_a_pause_does_not_count(stages):
    first, second, third = stages["level"][:3]
    timings = [Timing(first, 10, 10), Timing(second, 10, 10), Timing(third, 10_000, 10)]
    pace = measure_pace(timings)
    assert pace.stages_per_hour == pytest.approx(3600 * 3 / 20)
    assert pace.images_per_second == pytest.approx(300 / 20)
    assert pace.processes == pytest.approx(1.5)
    assert seconds_left(timings, {stages["level"][3]: 1.0}) == pytest.approx(10 / 1.5)


def test_work_is_weighed_by_its_operations_and_what_is_done_of_it(stages):
    done, left = stages["level"][0], replace(stages["level"][1], cost=Cost(10, 200, 30))
    assert seconds_left([Timing(done, 10, 10)], {left: 1.0}) == pytest.approx(30)
    assert seconds_left([Timing(done, 10, 10)], {left: 0.25}) == pytest.approx(7.5)


def test_a_level_is_foretold_from_its_own_kind_before_others(stages):
    level, child, barrier = stages["level"][0], stages["child"], stages["barrier"]
    timings = [Timing(level, 10, 10), Timing(child[0], 30, 20), Timing(barrier[0], 33, 3)]
    assert seconds_left(timings, {child[1]: 1.0}) == pytest.approx(20)
    assert seconds_left(timings, {barrier[1]: 1.0}) == pytest.approx(3)
    assert seconds_left(timings, {stages["score_model"][0]: 1.0}) == pytest.approx(15)  # as all trainings do


def test_without_a_finished_training_the_time_of_one_is_not_known(stages):
    timings = [Timing(stages["barrier"][0], 3, 3)]
    assert seconds_left(timings, {stages["level"][0]: 1.0}) is None
    assert seconds_left(timings, {stages["score"][0]: 1.0}) == 0.0


@given(
    starts=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=12),
)
def test_busy_time_is_that_of_a_count_second_by_second(stages, starts):
    timings = [Timing(stages["level"][0], start + length, length) for start, length in starts]
    busy = {second for start, length in starts for second in range(start, start + length)}
    pace = measure_pace(timings)
    assert pace.processes == pytest.approx(sum(length for _, length in starts) / len(busy))
    assert pace.stages_per_hour == pytest.approx(3600 * len(starts) / len(busy))
