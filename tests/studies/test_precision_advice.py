import warnings

import pytest
import torch

from ticketdiet.studies import precision_advice as module
from ticketdiet.studies import probing
from ticketdiet.studies.precision_advice import in_words, precision_advice
from ticketdiet.training.precision import StepTimes, time_precisions

LONG = ("training.steps=100000", "scores.el2n.steps=6")


@pytest.fixture
def machine(monkeypatch):
    """Makes this an imaginary machine: seconds per example in each precision, and whether it computes in bfloat16."""
    measured = []

    def make(*, float32=1e-3, bfloat16=1e-3, computes=True):
        seconds = {"float32": float32, "bfloat16": bfloat16}

        def step_timer(make_model, recipe, shape, classes):
            make_model()

            def measure(precision, size):
                measured.append((precision, shape, classes, torch.get_num_threads()))
                return size * seconds[precision]

            return measure

        monkeypatch.setattr(probing, "step_timer", step_timer)
        monkeypatch.setattr(module, "has_bfloat16", lambda: computes)
        return measured

    return make


def advice(plan, left=None, **options):
    return precision_advice(plan, list(plan.stages) if left is None else left, **({"device": "cpu"} | options))


def test_where_the_cpu_cannot_do_the_bfloat16_that_is_asked_for_it_says_so_with_the_factor_and_the_way_out(
    plan_tiny, machine
):
    machine(bfloat16=8.3e-3, computes=False)
    assert advice(plan_tiny(*LONG, "training.precision=bfloat16")) == (
        "bfloat16 takes 8.3 times as long as float32 here, because this CPU has no bfloat16 arithmetic. "
        "--set training.precision=float32 would be faster, and give other numbers."
    )


def test_where_bfloat16_is_faster_it_says_that_too(plan_tiny, machine):
    machine(float32=2.1e-3)
    assert advice(plan_tiny(*LONG)) == (
        "bfloat16 is 2.1 times as fast as float32 here. "
        "--set training.precision=bfloat16 would use it, and give other numbers."
    )


@pytest.mark.parametrize("computes", [True, None])
def test_where_the_precision_asked_for_is_the_faster_one_nothing_is_said(plan_tiny, machine, computes):
    machine(float32=1.1e-3, computes=computes)
    assert advice(plan_tiny(*LONG)) == advice(plan_tiny(*LONG, "training.precision=bfloat16")) == ""


def test_a_study_in_float32_measures_nothing_where_there_is_nothing_else(plan_tiny, machine):
    measured = machine(computes=False)
    assert advice(plan_tiny(*LONG)) == ""
    assert not measured


def test_nothing_is_measured_when_no_training_is_left_or_on_a_gpu(plan_tiny, machine):
    measured, plan = machine(float32=1.0), plan_tiny(*LONG)
    without = [address for address, stage in plan.stages.items() if stage.kind in ("subset", "score")]
    assert advice(plan, left=[]) == advice(plan, left=without) == advice(plan, device="cuda") == ""
    assert not measured


def test_half_a_minute_of_work_is_not_worth_a_word(plan_tiny, machine):
    machine(float32=3e-3)
    examples = plan_tiny().cost().examples  # 1600: five seconds
    assert examples * 3e-3 < 30 < examples * 30e-3
    assert advice(plan_tiny(), workers=1) == ""
    machine(float32=30e-3)
    assert advice(plan_tiny(), workers=1) != ""
    assert advice(plan_tiny(), workers=2) == ""


def test_it_measures_the_network_on_images_of_the_study_with_the_threads_of_the_run(plan_tiny, machine, monkeypatch):
    measured = machine(float32=1.0)
    monkeypatch.setattr(module, "threads_per_worker", lambda workers: 6 // workers)
    before = torch.get_num_threads()
    advice(plan_tiny(*LONG), workers=2)
    assert {found[1:] for found in measured} == {((1, 8, 8), 10, 3)}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("arms.all@4.training={precision: bfloat16, steps: 500000}", "arms.all@4.training.precision"),
        ("scores.el2n={steps: 90000, training: {precision: bfloat16}}", "scores.el2n.training.precision"),
        (
            "arms.all@4.pretrain={steps: 90000, training: {precision: bfloat16}}",
            "arms.all@4.pretrain.training.precision",
        ),
    ],
)
def test_the_way_out_names_the_key_that_holds_the_precision(plan_tiny, machine, setting, key):
    machine(bfloat16=8e-3, computes=False)
    plan = plan_tiny("training.steps=90001", setting)
    most = [address for address, stage in plan.stages.items() if "bfloat16" in str(stage.identity)]
    assert f"--set {key}=float32" in advice(plan, left=most)


def test_a_network_that_fails_when_it_is_measured_is_left_to_the_run(plan_tiny, machine, monkeypatch):
    machine()

    def failing(make_model, *rest):
        warnings.warn("nobody sees this", stacklevel=1)
        torch.randn(3)
        raise ValueError("no such layer")

    monkeypatch.setattr(probing, "step_timer", failing)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert advice(plan_tiny(*LONG)) == ""
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_network_too_slow_to_measure_is_only_spoken_of_where_the_cpu_says_it_all():
    key = "training.precision"
    assert "takes many times as long as float32 here, because" in in_words(None, "bfloat16", False, key)
    assert in_words(None, "bfloat16", True, key) == in_words(None, "float32", None, key) == ""
    assert "takes 21 times as long as float32 here. " in in_words(StepTimes(1.0, 21.0), "bfloat16", None, key)


def test_on_this_machine_both_precisions_are_measured(plan_tiny, monkeypatch):
    found = []
    monkeypatch.setattr(module, "time_precisions", lambda *a, **k: found.append(time_precisions(*a, **k)) or found[-1])
    said = advice(plan_tiny(*LONG, "training.precision=bfloat16"))
    assert found[0].float32 > 0
    assert found[0].bfloat16 > 0
    assert bool(said) == (found[0].bfloat16 >= 1.25 * found[0].float32)
