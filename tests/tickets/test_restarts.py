import copy

import pytest
import torch

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.tickets.restarts import RESTARTS, RestartPolicy, fine_tuning, restart
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.schedule import learning_rate

RECIPE = Recipe(steps=8, batch_size=8, lr=0.4, milestones=(4, 6), crop_padding=1, precision="float32")


def removed(weights, mask):
    return torch.cat([weights[name][mask[name] == 0] for name in mask])


def test_weight_rewinding_is_the_rewinding_of_the_package(ticket, make_model):
    point, trained, mask = ticket
    start = restart("weights", point, trained, mask, RECIPE, 2)
    rewound = rewind(make_model(3), point, mask).state_dict()
    assert all(torch.equal(start.weights[name], rewound[name]) for name in rewound)
    assert (start.start_step, start.recipe) == (2, RECIPE)


def test_learning_rate_rewinding_keeps_what_was_trained_and_the_schedule_from_k(ticket):
    point, trained, mask = ticket
    start = restart("learning_rate", point, trained, mask, RECIPE, 2)
    assert bool((removed(start.weights, mask) == 0).all())
    assert all(torch.equal(start.weights[name], trained[name]) for name in trained.keys() - mask.keys())
    for name in mask:
        assert torch.equal(start.weights[name][mask[name] == 1], trained[name][mask[name] == 1])
    assert (start.start_step, start.recipe) == (2, RECIPE)


@pytest.mark.parametrize("schedule", ["multistep", "constant"])
def test_fine_tuning_goes_at_the_last_learning_rate_throughout(ticket, schedule):
    point, trained, mask = ticket
    recipe = RECIPE.model_copy(update={"schedule": schedule, "warmup_steps": 3})
    start = restart("fine_tune", point, trained, mask, recipe, 2)
    rates = {learning_rate(start.recipe, step) for step in range(2, 8)}
    assert rates == {learning_rate(recipe, 7)}
    assert (start.start_step, start.recipe.steps) == (2, 8)
    kept = {"schedule", "lr", "warmup_steps"}
    assert start.recipe.model_dump(exclude=kept) == recipe.model_dump(exclude=kept)
    assert torch.equal(start.weights["1.running_mean"], trained["1.running_mean"])


def test_fine_tuning_after_a_cosine_has_no_last_rate_and_goes_at_the_one_that_is_given(ticket):
    point, trained, mask = ticket
    cosine = Recipe(steps=120, batch_size=8, lr=0.1, schedule="cosine", warmup_steps=3)
    with pytest.raises(
        UserError,
        match=r"whose last rate is 1\.7e-05 after a first rate of 0\.1[\s\S]*rate of fine_tune, for example",
    ):
        restart("fine_tune", point, trained, mask, cosine, 2)
    start = restart("fine_tune", point, trained, mask, cosine, 2, options={"lr": 0.02})
    assert {learning_rate(start.recipe, step) for step in range(120)} == {0.02}
    assert restart("learning_rate", point, trained, mask, cosine, 2).recipe == cosine
    assert restart("fine_tune", point, None, mask, cosine, 2).recipe == cosine  # the first level trains as ever


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_of_fine_tuning_that_is_none_is_refused(ticket, lr):
    point, trained, mask = ticket
    with pytest.raises(UserError, match=r"restart policy 'fine_tune' got .* for its option 'lr'"):
        restart("fine_tune", point, trained, mask, RECIPE, 2, options={"lr": lr})
    with pytest.raises(UserError, match="a learning rate above 0"):
        fine_tuning(RECIPE, lr)


@pytest.mark.parametrize("policy", RESTARTS.names())
def test_the_first_level_starts_at_the_point_under_every_policy(ticket, policy):
    point, _, mask = ticket
    start = restart(policy, point, None, mask, RECIPE, 2)
    assert start.recipe == RECIPE
    assert torch.equal(start.weights["1.weight"], point["1.weight"])


@pytest.mark.parametrize("policy", RESTARTS.names())
def test_a_restart_trains_the_same_steps_on_the_same_batches_and_leaves_its_inputs_alone(ticket, policy, make_model):
    point, trained, mask = ticket
    before = copy.deepcopy((point, trained, mask))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images = Images(pixels, torch.arange(24) % 4, tuple("abcd"), (0.5,) * 3, (0.3,) * 3)
    start = restart(policy, point, trained, mask, RECIPE, 2)
    model = make_model()
    model.load_state_dict(dict(start.weights))
    done = train(model, images, start.recipe, seeds=RunSeeds.of(0, 0), start_step=start.start_step, mask=mask)
    assert (done.first_step, done.last_step, done.examples_seen) == (2, 8, 48)
    assert bool((removed(done.weights, mask) == 0).all())
    for old, new in zip(before, (point, trained, mask), strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_an_unknown_policy_and_a_step_beyond_the_end_are_refused(ticket):
    point, trained, mask = ticket
    with pytest.raises(UnknownName, match="one of: fine_tune, learning_rate, weights"):
        restart("weight", point, trained, mask, RECIPE, 2)
    with pytest.raises(UserError, match="a restart at step 9 of a training of 8 steps"):
        restart("weights", point, trained, mask, RECIPE, 9)


class Halfway(RestartPolicy):
    """Half of the way back, at half of the rate."""

    def weights(self, point, trained):
        return {name: torch.lerp(value.double(), trained[name].double(), 0.5) for name, value in point.items()}

    def recipe(self, recipe):
        return recipe.model_copy(update={"lr": recipe.lr / 2})


def test_a_policy_of_another_package_restarts(ticket):
    point, trained, mask = ticket
    with RESTARTS.temporarily("halfway", Halfway):
        start = restart("halfway", point, trained, mask, RECIPE, 2)
    assert start.recipe.lr == 0.2
    assert bool((removed(start.weights, mask) == 0).all())
    torch.testing.assert_close(start.weights["5.bias"], (point["5.bias"].double() + trained["5.bias"].double()) / 2)
    assert restart(Halfway(), point, None, mask, RECIPE, 2).recipe == RECIPE
