import functools

import pytest
import torch
from torch import nn

from ticketdiet.training.precision import StepTimes, step_timer, time_precisions
from ticketdiet.training.recipe import Recipe


class Machine:
    """An imaginary machine on which a step takes so many seconds per example, three steps a measurement."""

    def __init__(self, *, float32, bfloat16):
        self.seconds = {"float32": float32, "bfloat16": bfloat16}
        self.now, self.asked = 0.0, []

    def measure(self, precision, size):
        self.asked.append((precision, size))
        self.now += 3 * size * self.seconds[precision]
        return size * self.seconds[precision]

    def times(self, batch_size=128, **options):
        return time_precisions(self.measure, batch_size, clock=lambda: self.now, **options)


def test_both_precisions_are_timed_per_example():
    found = Machine(float32=2e-5, bfloat16=1e-5).times(computes_bfloat16=True)
    assert (found.float32, found.bfloat16) == pytest.approx((2e-5, 1e-5))
    assert (found.of("float32"), found.of("bfloat16")) == (found.float32, found.bfloat16)


def test_precisions_take_turns_with_the_same_batch():
    machine = Machine(float32=2e-5, bfloat16=1e-5)
    machine.times(computes_bfloat16=True)
    assert machine.asked == [("float32", 2), ("bfloat16", 2), *[("float32", 128), ("bfloat16", 128)] * 3]


@pytest.mark.parametrize("float32", [1e-6, 1e-4, 1e-3, 3e-3, 1e-2, 1.0])
@pytest.mark.parametrize("imitated", [8, 21])
def test_where_bfloat16_is_imitated_the_measurement_still_ends_in_time(float32, imitated):
    machine = Machine(float32=float32, bfloat16=imitated * float32)
    found = machine.times(computes_bfloat16=False, budget=1.0)
    assert machine.now - machine.asked[0][1] * 3 * float32 < 3
    assert found is None or found.bfloat16 / found.float32 == pytest.approx(imitated)
    if float32 <= 1e-3:  # a ResNet-20 at 32x32 takes 4e-3 on a core without AVX-512
        assert found is not None


def test_a_network_too_slow_for_two_steps_in_bfloat16_is_not_timed():
    machine = Machine(float32=1.0, bfloat16=20.0)
    assert machine.times(computes_bfloat16=False) is None
    assert machine.asked == [("float32", 2)]


def test_a_training_in_small_batches_is_timed_in_no_larger_ones():
    machine = Machine(float32=1e-6, bfloat16=1e-6)
    machine.times(batch_size=1, computes_bfloat16=None)
    assert {size for _, size in machine.asked} == {1}


def test_a_measurement_takes_steps_of_the_training_loop_in_the_precision_and_leaves_all_generators_alone(make_model):
    seen = []

    class Watched(nn.Sequential):
        def forward(self, inputs):
            seen.append((tuple(inputs.shape), torch.is_autocast_enabled("cpu"), self.training))
            return super().forward(inputs)

    recipe = Recipe(steps=600, batch_size=64, lr=0.1, warmup_steps=9, milestones=(30,), crop_padding=2)
    measure = step_timer(lambda: Watched(make_model()), recipe, (3, 8, 8), 4)
    before = torch.get_rng_state()
    assert measure("float32", 5) > 0
    assert measure("bfloat16", 7) > 0
    assert seen == [((5, 3, 8, 8), False, True)] * 3 + [((7, 3, 8, 8), True, True)] * 3
    assert torch.equal(torch.get_rng_state(), before)


def test_a_measurement_times_what_follows_the_warm_up(make_model, monkeypatch):
    moments = iter([0.0, 5.0, 5.5, 6.25])  # the first step takes 5 s, the next .5 s, the last .75 s
    monkeypatch.setattr("ticketdiet.training.precision.time.perf_counter", functools.partial(next, moments))
    assert step_timer(make_model, Recipe(batch_size=4), (3, 8, 8), 4)("float32", 4) == 0.5


def test_step_times_are_a_value():
    assert StepTimes(1.0, 2.0) == StepTimes(float32=1.0, bfloat16=2.0)
