import pytest

from ticketdiet.studies import probing
from ticketdiet.studies import time_left as module
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.time_left import duration, time_left

MILLISECOND = 1e-3


@pytest.fixture
def machine(monkeypatch):
    """An imaginary machine that takes a millisecond per example, whatever the batch."""
    measured = []

    def step_timer(make_model, recipe, shape, classes):
        def measure(precision, size):
            measured.append((precision, size))
            return size * MILLISECOND

        return measure

    monkeypatch.setattr(probing, "step_timer", step_timer)
    return measured


def left_of(plan, *kinds):
    return [stage.address for stage in plan.of(kinds)] if kinds else list(plan.stages)


def test_the_time_is_that_of_all_examples_at_the_measured_rate(plan_tiny, machine):
    plan = plan_tiny()
    found = time_left(plan, left_of(plan), device="cpu", workers=1)
    assert found.seconds == pytest.approx(plan.cost().examples * MILLISECOND)
    assert found.rate == pytest.approx(1000)
    assert found.processes == 1


def test_what_is_done_takes_no_more_time(plan_tiny, machine):
    plan = plan_tiny()
    points = left_of(plan, Pretrain)
    found = time_left(plan, points, device="cpu", workers=1)
    assert found.seconds == pytest.approx(2 * 4 * 16 * MILLISECOND)
    assert not found.has_sparse


def test_processes_divide_the_work_down_to_the_longest_chain_of_levels(plan_tiny, machine):
    plan = plan_tiny()
    left = left_of(plan)
    alone, two, many = (time_left(plan, left, device="cpu", workers=workers).seconds for workers in (1, 2, 50))
    assert two == pytest.approx(alone / 2)
    # Three levels of 12 steps without pre-training; a score model, a point and three levels of 8 take 34 together.
    assert many == pytest.approx(3 * 12 * 16 * MILLISECOND)


def test_examples_of_a_cheaper_network_take_less_time(plan_tiny, machine):
    plan = plan_tiny("scores.el2n.model={name: lenet_300_100}")
    expected = plan.cost().flops / plan.of(Level)[0].cost.flops * plan.of(Level)[0].cost.examples * MILLISECOND
    assert time_left(plan, left_of(plan), device="cpu", workers=1).seconds == pytest.approx(expected)


def test_steps_are_measured_in_the_precision_of_the_study_and_grow_to_its_batch(plan_tiny, machine):
    time_left(plan_tiny("training.precision=bfloat16"), left_of(plan_tiny("training.precision=bfloat16")), device="cpu")
    assert machine == [("bfloat16", 2), ("bfloat16", 16)]


def test_nothing_is_measured_where_nothing_is_left_or_on_a_gpu(plan_tiny, machine):
    plan = plan_tiny()
    assert time_left(plan, [], device="cpu") is None
    assert time_left(plan, left_of(plan), device="cuda") is None
    assert machine == []


def test_a_network_that_fails_is_left_to_the_run(plan_tiny, monkeypatch):
    def failing(*arguments):
        raise ValueError("no such layer")

    monkeypatch.setattr(probing, "step_timer", failing)
    plan = plan_tiny()
    assert time_left(plan, left_of(plan), device="cpu") is None


def test_it_is_said_in_one_line_as_a_bound_where_sparse_levels_take_less():
    found = module.TimeLeft(3 * 3600 + 20 * 60, 849.6, 2, has_sparse=True)
    assert found.in_words() == (
        "This takes at most about 3 h 20 min here, with 2 processes at 850 images per second each."
    )
    dense = module.TimeLeft(61, 1000, 1, has_sparse=False)
    assert dense.in_words() == "This takes about 1 min here, with 1 process at 1,000 images per second."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 min"),
        (59 * 60, "59 min"),
        (3600, "1 h"),
        (47 * 3600 + 60, "47 h 1 min"),
        (50 * 3600, "2 days 2 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds, words):
    assert duration(seconds) == words
