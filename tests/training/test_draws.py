import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.training.draws import StepDraws
from ticketdiet.training.loop import train
from ticketdiet.training.observers import StateObserver
from ticketdiet.training.recipe import Recipe

SEEDS = RunSeeds.of(0, 0)
RECIPE = Recipe(steps=20, batch_size=8, lr=0.05, crop_padding=1)
CPU = torch.device("cpu")


def with_dropout(make_model, seed=0):
    return nn.Sequential(nn.Dropout2d(0.3), *make_model(seed))


def same(first, second):
    return all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_a_network_with_dropout_trains_to_the_same_bits_whatever_was_drawn_before(images, make_model):
    first = train(with_dropout(make_model), images, RECIPE, seeds=SEEDS)
    torch.rand(7)
    assert same(first, train(with_dropout(make_model), images, RECIPE, seeds=SEEDS))
    assert not same(first, train(with_dropout(make_model), images, RECIPE, seeds=SEEDS.child(1)))


def test_a_resumed_training_with_dropout_is_equal_to_the_bit(images, make_model):
    states = []
    whole = train(
        with_dropout(make_model), images, RECIPE, seeds=SEEDS, observers=[StateObserver(states.append, every_steps=7)]
    )
    saving = StateObserver(states.append, every_steps=1000)
    resumed = train(with_dropout(make_model, 9), images, RECIPE, seeds=SEEDS, observers=[saving], resume=states[2])
    assert states[2].step == 14
    assert same(whole, resumed)


def test_every_step_draws_anew_and_a_step_always_the_same():
    draws = StepDraws(SEEDS, CPU)
    seen = []
    for step in (0, 1, 2, 1):
        with draws.of(step):
            seen.append(F.dropout(torch.ones(50)))
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("drawing", [False, True])
def test_the_global_generator_is_left_as_it_was(drawing):
    draws, before = StepDraws(SEEDS, CPU), torch.get_rng_state()
    for step in range(3):
        with draws.of(step):
            if drawing:
                torch.rand(3)
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_that_draws_nothing_at_the_first_step_is_not_seeded_again():
    draws = StepDraws(SEEDS, CPU)
    with draws.of(0):
        torch.ones(3)
    state = torch.get_rng_state()
    with draws.of(1):
        assert torch.equal(torch.get_rng_state(), state)
