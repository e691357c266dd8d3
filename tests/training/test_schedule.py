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
