import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.tickets.controls import RESTART_POLICIES, reinitialised, restart, shuffled_mask, sign_only
from ticketdiet.tickets.masks import dense_mask, layer_densities
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.schedule import learning_rate

RECIPE = Recipe(steps=8, batch_size=8, lr=0.4, milestones=(4, 6), crop_padding=1, precision="float32")


@pytest.fixture
def ticket(make_model):
    """Weights at a point, trained weights of a level, and the mask of the next."""
    point, trained = make_model(0).state_dict(), make_model(1).state_dict()
    return point, trained, prune(trained, dense_mask(make_model()), 0.6)


def removed(weights, mask):
    return torch.cat([weights[name][mask[name] == 0] for name in mask])


def test_reinitialised_weights_are_new_everywhere_that_is_kept_and_zero_elsewhere(ticket, make_model):
    _, _, mask = ticket
    model = build_model("resnet8", width=4, seed=5)
    mask = prune(model.state_dict(), dense_mask(model), 0.5)
    fresh = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 5, mask)
    assert fresh.keys() == model.state_dict().keys()
    assert bool((removed(fresh, mask) == 0).all())
    for name in mask:
        kept = mask[name] == 1
        assert not bool((fresh[name][kept] == model.state_dict()[name][kept]).any())
    again = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 5, mask)
    other = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 6, mask)
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)
    assert not torch.equal(fresh["conv.weight"], other["conv.weight"])


def test_reinitialised_without_a_mask_is_dense():
    fresh = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 0)
    assert bool((fresh["conv.weight"] != 0).all())


MASKS = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(0, 1), min_size=1, max_size=40).map(torch.tensor), min_size=1
)


@given(MASKS, st.integers(0, 2**40))
def test_a_shuffled_mask_has_the_same_density_in_every_layer(mask, seed):
    mask = {name: kept[:, None].to(torch.uint8) for name, kept in mask.items()}
    shuffled = shuffled_mask(mask, seed)
    assert layer_densities(shuffled) == layer_densities(mask)
    assert all(shuffled[name].shape == mask[name].shape and shuffled[name].dtype == torch.uint8 for name in mask)
    assert all(torch.equal(shuffled[name], value) for name, value in shuffled_mask(mask, seed).items())


def test_a_shuffled_mask_keeps_no_structure(ticket):
    mask = {"a": torch.tensor([1] * 500 + [0] * 500), "b": torch.tensor([1] * 500 + [0] * 500)}
    shuffled = shuffled_mask(mask, 1)
    assert 200 < int(shuffled["a"][:500].sum()) < 300
    assert not torch.equal(shuffled["a"], shuffled["b"])
    assert not torch.equal(shuffled["a"], shuffled_mask(mask, 2)["a"])
    assert mask["a"].tolist() == [1] * 500 + [0] * 500


def test_sign_only_keeps_signs_at_the_initial_standard_deviation(ticket, make_model):
    point, _, mask = ticket
    initial = make_model(7).state_dict()
    ticket_of_signs = sign_only(point, initial, mask)
    for name in mask:
        kept = mask[name].numpy() == 1
        std = np.float32(np.std(initial[name].numpy().astype(np.float64)))
        found, weights = ticket_of_signs[name].numpy(), point[name].numpy()
        assert np.array_equal(found[kept], np.where(weights > 0, std, -std)[kept])
        assert not found[~kept].any()
        assert found.dtype == np.float32
    for name in point.keys() - mask.keys():
        assert torch.equal(ticket_of_signs[name], point[name])


def test_sign_only_takes_the_standard_deviation_itself_and_leaves_a_zero_at_zero():
    weights = {"w": torch.tensor([[2.0, -3.0, 0.0]]), "b": torch.tensor([5.0])}
    found = sign_only(weights, {"w": 0.5}, {"w": torch.ones(1, 3)})
    assert found["w"].tolist() == [[0.5, -0.5, 0.0]]
    assert found["b"].tolist() == [5.0]
    assert weights["w"].tolist() == [[2.0, -3.0, 0.0]]


def test_sign_only_without_an_initial_tensor_says_which(ticket):
    with pytest.raises(UserError, match=r"'0\.weight'"):
        sign_only(ticket[0], {"5.weight": 1.0}, ticket[2])


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
    with pytest.raises(UserError, match=r"whose last rate is 1\.7e-05 of a first rate of 0\.1[\s\S]*fine_tune_lr"):
        restart("fine_tune", point, trained, mask, cosine, 2)
    start = restart("fine_tune", point, trained, mask, cosine, 2, fine_tune_lr=0.02)
    assert {learning_rate(start.recipe, step) for step in range(120)} == {0.02}
    assert restart("learning_rate", point, trained, mask, cosine, 2).recipe == cosine
    assert restart("fine_tune", point, None, mask, cosine, 2).recipe == cosine  # the first level trains as ever


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_of_fine_tuning_that_is_none_is_refused(ticket, lr):
    point, trained, mask = ticket
    with pytest.raises(UserError, match="a learning rate above 0"):
        restart("fine_tune", point, trained, mask, RECIPE, 2, fine_tune_lr=lr)


@pytest.mark.parametrize("policy", RESTART_POLICIES)
def test_the_first_level_starts_at_the_point_under_every_policy(ticket, policy):
    point, _, mask = ticket
    start = restart(policy, point, None, mask, RECIPE, 2)
    assert start.recipe == RECIPE
    assert torch.equal(start.weights["1.weight"], point["1.weight"])


@pytest.mark.parametrize("policy", RESTART_POLICIES)
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
    with pytest.raises(UserError, match="a restart at step 9 of 8"):
        restart("weights", point, trained, mask, RECIPE, 9)
