import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from ticketdiet.core.errors import DataError, UnknownName, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.tickets.masks import dense_mask
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.tickets.search import Level, TicketSearch, as_images, find_ticket
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe

RECIPE = Recipe(steps=30, batch_size=16, lr=0.1, precision="float32")


def points(count, seed):
    """Four blobs in eight dimensions: easy for a small network."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    centres = torch.eye(4, 8) * 3
    return centres[labels] + torch.randn(count, 8, generator=generator), labels


class Plain(Dataset):
    """A map-style dataset as everyone writes them: no tensors of its own, labels as numbers."""

    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.inputs[index].numpy(), int(self.labels[index])


@pytest.fixture
def mlp():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


TRAIN, TEST = points(64, 1), points(40, 2)


def search(model, **options):
    given: dict[str, Any] = {"recipe": RECIPE, "pretrain_steps": 5, "levels": 3} | options
    return find_ticket(model, TRAIN, TEST, **given)


def test_a_search_finds_a_sparse_network_that_classifies(mlp):
    found = search(mlp, levels=6)
    assert found.levels[0].accuracy > 0.8
    assert found.matching(tolerance=0.05).density < 0.5


def test_densities_fall_by_the_fraction(mlp):
    found = search(mlp, fraction=0.5)
    assert [level.number for level in found.levels] == [0, 1, 2, 3]
    assert [level.density for level in found.levels] == [1.0, 0.5, 0.25, 0.125]


def test_masks_are_nested_and_hold_through_training(mlp):
    levels = search(mlp).levels
    for before, after in itertools.pairwise(levels):
        assert all(bool((after.mask[name] <= before.mask[name]).all()) for name in after.mask)
    for level in levels:
        assert all(not level.weights[name][kept == 0].any() for name, kept in level.mask.items())


def test_the_users_model_is_left_as_it_was(mlp):
    before, mode = copy.deepcopy(mlp.state_dict()), mlp.training
    search(mlp)
    assert all(torch.equal(value, before[name]) for name, value in mlp.state_dict().items())
    assert mlp.training == mode
    assert all(parameter.grad is None for parameter in mlp.parameters())


def test_the_same_seed_gives_the_same_bits_and_another_does_not(mlp):
    first, again, other = search(mlp), search(mlp), search(mlp, seed=1)
    assert same(first.levels[-1].weights, again.levels[-1].weights)
    assert same(first.levels[-1].mask, again.levels[-1].mask)
    assert not same(first.levels[-1].weights, other.levels[-1].weights)


def test_a_map_style_dataset_is_worth_the_same_as_its_tensors(mlp):
    from_tensors = search(mlp)
    for kind in (Plain, TensorDataset):
        found = find_ticket(mlp, kind(*TRAIN), kind(*TEST), recipe=RECIPE, pretrain_steps=5, levels=3)
        assert same(found.levels[-1].weights, from_tensors.levels[-1].weights)
        assert [level.accuracy for level in found.levels] == [level.accuracy for level in from_tensors.levels]


def test_a_search_is_the_three_phases_written_out(mlp):
    """Pre-train to k, then prune, rewind and train from k, by the pieces themselves."""
    subset = np.arange(0, 64, 2)
    found = search(mlp, levels=1, fraction=0.3, subset=subset)
    images, seeds, model = as_images(TRAIN), RunSeeds.of(0, 0), copy.deepcopy(mlp)
    point = train(model, images, RECIPE, seeds=seeds, stop_step=5, examples=subset).weights
    assert same(found.rewinding_point, point)
    dense = train(rewind(model, point), images, RECIPE, seeds=seeds, start_step=5, mask=dense_mask(model)).weights
    assert same(found.levels[0].weights, dense)
    mask = prune(dense, dense_mask(model), 0.3)
    assert same(found.levels[1].mask, mask)
    sparse = train(rewind(model, point, mask), images, RECIPE, seeds=seeds, start_step=5, mask=mask).weights
    assert same(found.levels[1].weights, sparse)


def test_without_pre_training_the_rewinding_point_is_the_initialisation(mlp):
    found = search(mlp, pretrain_steps=0, subset=[0, 1])
    assert same(found.rewinding_point, mlp.state_dict())


def test_a_subset_comes_as_array_tensor_or_list_in_any_order(mlp):
    order = list(range(0, 64, 2))[::-1]
    found = [search(mlp, levels=0, subset=kind(order)) for kind in (np.array, torch.tensor, list)]
    seeds = RunSeeds.of(0, 0)
    train(mlp, as_images(TRAIN), RECIPE, seeds=seeds, stop_step=5, examples=np.array(order))
    assert all(same(one.rewinding_point, mlp.state_dict()) for one in found)


def test_every_level_is_told_as_it_is_done(mlp):
    told = []
    found = search(mlp, on_level=told.append)
    assert tuple(told) == found.levels


def test_ignored_layers_stay_dense(mlp):
    assert all(list(level.mask) == ["0.weight"] for level in search(mlp, ignore=["3.weight"]).levels)


def test_images_are_augmented_and_normalised_by_the_training_split():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (32, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = torch.arange(32) % 3
    train_images = as_images((pixels, labels))
    test_images = as_images((pixels[:8] // 2, labels[:8]), like=train_images)
    exact = pixels.numpy().astype(np.float64) / 255
    assert train_images.mean == pytest.approx((exact.mean(),))
    assert train_images.std == pytest.approx((exact.std(),))
    assert (test_images.mean, test_images.std) == (train_images.mean, train_images.std)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    found = find_ticket(model, (pixels, labels), (pixels, labels), recipe=RECIPE, levels=1)
    assert found.levels[1].density == pytest.approx(0.8, abs=0.01)


def test_images_are_taken_as_they_are():
    images = as_images(TRAIN)
    assert as_images(images) is images


def test_a_test_set_may_lack_classes_but_not_add_any():
    images = as_images(TRAIN)
    assert as_images((TEST[0][:1], TEST[1][:1]), like=images).num_classes == 4
    with pytest.raises(DataError, match="labels from 9 to 9 with 4 classes"):
        as_images((TEST[0][:1], torch.tensor([9])), like=images)


@pytest.mark.parametrize("tolerance", [0.0, 0.02, 1.0])
def test_the_matching_level_is_the_sparsest_within_tolerance(tolerance):
    accuracies = [0.90, 0.91, 0.89, 0.90, 0.70]
    levels = tuple(Level(n, 0.8**n, accuracy, {}, {}) for n, accuracy in enumerate(accuracies))
    expected = max(n for n, accuracy in enumerate(accuracies) if accuracy >= 0.90 - tolerance)
    assert TicketSearch({}, 0, levels).matching(tolerance).number == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"levels": -1}, UserError, "levels=-1"),
        ({"fraction": 1.0}, UserError, "strictly between 0 and 1"),
        ({"rule": "layerwise"}, UnknownName, "exact, threshold"),
        ({"ignore": ["1.weight"]}, UserError, "cannot be ignored"),
        ({"pretrain_steps": 31}, UserError, "k <= T"),
        ({"subset": np.arange(8)}, DataError, "8 examples to train on in batches of 16"),
        ({"subset": np.arange(1, 65)}, DataError, "index 64 is not among the candidates"),
        ({"subset": [-1, *range(63)]}, DataError, "index -1 is not among the candidates"),
        ({"subset": np.array([0, 0] * 32)}, DataError, "64 indices, of which 63 repeat others"),
        ({"subset": [0, 0], "pretrain_steps": 0}, DataError, "repeat others"),
        ({"subset": [0.5]}, DataError, "distinct integers among the 64 candidates"),
        ({"subset": []}, DataError, "at least one"),
        ({"levels": 1.5}, UserError, r"levels=1\.5"),
        ({"seed": 1.5}, DataError, r"seed=1\.5"),
        ({"subset": np.ones(64, dtype=bool)}, DataError, "np.flatnonzero"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_level_is_trained(mlp, options, error, message):
    told = []
    with pytest.raises(error, match=message):
        search(mlp, on_level=told.append, **options)
    assert told == []


class Picture:
    """A picture that no transform has converted into numbers."""


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (3, "examples of type int"),
        (iter([]), "examples of type list_iterator"),
        ((torch.empty(0, 8), torch.empty(0)), "no examples"),
        (Plain(torch.empty(0, 8), torch.empty(0)), "no examples"),
        ([(torch.ones(2), 0), (torch.ones(3), 1), (torch.ones(2), 0)], "cannot be stacked"),
        ([(Picture(), 0)] * 3, "of type Picture"),
        ((torch.ones(3, 8), torch.ones(2)), "3 images with labels"),
    ],
)
def test_examples_that_are_none_are_refused(examples, message):
    with pytest.raises(DataError, match=message):
        as_images(examples)


def test_splits_that_are_prepared_differently_are_refused():
    pixels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    prepared = as_images((pixels.float(), torch.arange(4)))
    with pytest.raises(DataError, match="both splits prepared in the same way"):
        as_images((pixels, torch.arange(4)), like=prepared)


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([nn.Linear(8, 3)], "4 classes"),
        ([nn.Linear(9, 4)], r"inputs of shape \(8,\)"),
        ([nn.Conv2d(1, 4, 1)], "inputs of shape"),
    ],
)
def test_a_model_that_does_not_fit_the_examples_is_refused_before_the_training(layers, says):
    with pytest.raises(UserError, match=says):
        search(nn.Sequential(*layers))
