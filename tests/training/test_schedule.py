import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ticketdiet.training.recipe import Recipe
from ticketdiet.training.schedule import learning_rate


def rates_of_torch(make_scheduler, recipe):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    scheduler = make_scheduler(optimiser)
    rates = []
    for _ in range(recipe.steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_multistep_agrees_with_torch():
    recipe = Recipe(steps=60, batch_size=1, lr=0.3, milestones=(30, 45), gamma=0.2)
    expected = rates_of_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [30, 45], 0.2), recipe)
    assert [learning_rate(recipe, step) for step in range(60)] == pytest.approx(expected)


def test_cosine_agrees_with_torch():
    recipe = Recipe(steps=60, batch_size=1, lr=0.3, schedule="cosine")
    expected = rates_of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 60), recipe)
    assert [learning_rate(recipe, step) for step in range(60)] == pytest.approx(expected, abs=1e-9)


def test_warm_up_agrees_with_torchs_linear_rise():
    recipe = Recipe(steps=20, batch_size=1, lr=0.4, schedule="constant", warmup_steps=8)
    expected = rates_of_torch(lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1 / 8, total_iters=7), recipe)
    assert [learning_rate(recipe, step) for step in range(20)] == pytest.approx(expected)


def test_milestones_as_shares_are_the_published_steps_of_the_papers_recipe():
    assert Recipe(steps=62400).milestone_steps() == (31200, 46800)
    assert Recipe(steps=600).milestone_steps() == (300, 450)


def test_milestones_as_shares_or_steps_have_one_identity():
    assert Recipe(steps=100, milestones=(0.5, 0.75)).identity() == Recipe(steps=100, milestones=(50, 75)).identity()


def test_a_whole_number_is_a_step_and_a_number_with_a_point_a_fraction_up_to_the_end():
    assert Recipe(steps=120, milestones=(0.5, 1.0)).milestone_steps() == (60, 120)
    assert Recipe(steps=120, milestones=(1, 60)).milestone_steps() == (1, 60)
    assert Recipe(steps=120, milestones=(90, 0.5)).milestone_steps() == (60, 90)


def test_the_end_as_a_milestone_is_never_reached():
    recipe = Recipe(steps=120, lr=0.1, milestones=(0.5, 1.0), gamma=0.1)
    assert [learning_rate(recipe, step) for step in (0, 1, 59)] == [0.1] * 3
    assert [learning_rate(recipe, step) for step in (60, 119)] == pytest.approx([0.01] * 2)


@pytest.mark.parametrize(
    ("milestones", "says"),
    [
        ((3000.0,), r"3000\.0 has a point.*above 1"),
        ((0.001,), r"0\.001 of 120 steps is step 0"),
        ((0.5, 60), "0.5 and 60 of 120 steps are both step 60"),
        ((0.5, 0.502), "both step 60"),
        ((30, 30), "both step 30"),
        ((float("inf"),), "less than or equal to 1000000000"),
    ],
)
def test_milestones_that_say_nothing_clear_are_refused(milestones, says):
    with pytest.raises(ValidationError, match=says):
        Recipe(steps=120, milestones=milestones)


def test_milestones_are_not_judged_where_the_schedule_has_none():
    assert Recipe(steps=120, schedule="cosine", milestones=(0.5, 60)).identity()["schedule"] == "cosine"


@given(st.integers(1, 60))
def test_the_default_milestones_fit_any_number_of_steps_and_so_does_their_identity(steps):
    recipe = Recipe(steps=steps)
    again = Recipe.model_validate(recipe.identity())
    assert [learning_rate(again, step) for step in range(steps)] == [learning_rate(recipe, s) for s in range(steps)]
    assert recipe.milestone_steps()[0] >= 1


@given(st.integers(1, 500), st.integers(0, 499))
def test_rates_never_exceed_the_learning_rate(steps, step):
    recipe = Recipe(steps=steps, batch_size=1, lr=0.1, warmup_steps=7)
    assert 0 < learning_rate(recipe, min(step, steps - 1)) <= 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"lr": 0},
        {"lr": float("nan")},
        {"momentum": 1.0},
        {"milestones": (1.5,)},
        {"unknown": 1},
        {"nesterov": True, "momentum": 0.0},
        {"precision": "float16"},
        {"milestones": (-1,)},
    ],
)
def test_a_recipe_refuses_what_is_out_of_range(wrong):
    with pytest.raises(ValidationError):
        Recipe(**wrong)
