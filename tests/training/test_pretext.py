import copy

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.training.batches import ImageBatches, prepare
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.loop import train
from ticketdiet.training.observers import StateObserver
from ticketdiet.training.pretext import (
    ROTATIONS,
    RotationBatches,
    head_name,
    pretext_weights,
    rotate,
    rotated_images,
    with_head,
)
from ticketdiet.training.recipe import Recipe

STILL = Recipe(steps=12, batch_size=8, crop_padding=0, flip=False, precision="float32")
MOVING = STILL.model_copy(update={"crop_padding": 1, "flip": True})
SEEDS = RunSeeds.of(3, 0)


def rotated_back(batch):
    """Rotated back one image at a time, by numpy."""
    images = zip(batch.inputs.numpy(), batch.labels.tolist(), strict=True)
    return np.stack([np.rot90(image, -turns, (1, 2)) for image, turns in images])


def test_rotating_back_by_the_label_gives_the_original_pixels(images):
    batches = RotationBatches(images, STILL, SEEDS)
    for step in range(7):
        batch = batches.batch(step)
        assert np.array_equal(rotated_back(batch), prepare(images.pixels[batch.indices], images).numpy())


def test_order_crops_and_flips_are_those_of_labelled_training(images):
    rotated, upright = RotationBatches(images, MOVING, SEEDS), ImageBatches(images, MOVING, SEEDS)
    for step in (0, 4, 6, 11):
        batch, expected = rotated.batch(step), upright.batch(step)
        assert torch.equal(batch.indices, expected.indices)
        assert np.array_equal(rotated_back(batch), expected.inputs.numpy())
        assert batch.inputs.stride() == expected.inputs.stride()


def test_one_quarter_turn_is_counter_clockwise():
    corner = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)[None, None]
    rotated = rotate(corner.expand(4, 1, 2, 2), torch.arange(4))[:, 0].tolist()
    assert rotated == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_all_rotations_come_about_equally_often_and_change_with_epoch_and_seed():
    images = Images(torch.zeros(4000, 1, 2, 2), torch.zeros(4000, dtype=torch.int64), ("a",))
    recipe = Recipe(steps=9, batch_size=4000)

    def turns(step, seeds=SEEDS):
        batch = RotationBatches(images, recipe, seeds).batch(step)
        return batch.labels[batch.indices.argsort()]

    counts = turns(0).bincount(minlength=ROTATIONS)
    assert 900 < int(counts.min()) <= int(counts.max()) < 1100
    assert 0.2 < float((turns(0) == turns(1)).float().mean()) < 0.3
    assert 0.2 < float((turns(0) == turns(0, RunSeeds.of(3, 1))).float().mean()) < 0.3
    other_order = RunSeeds(SEEDS.initialisation, 99, SEEDS.augmentation)
    assert torch.equal(turns(0), turns(0, other_order))


def test_a_batch_depends_on_its_step_only(images):
    forward, alone = RotationBatches(images, MOVING, SEEDS), RotationBatches(images, MOVING, SEEDS)
    walked = [forward.batch(step) for step in range(8)]
    for step in (7, 2, 5):
        assert torch.equal(alone.batch(step).inputs, walked[step].inputs)
        assert torch.equal(alone.batch(step).labels, walked[step].labels)


def test_only_the_subset_is_shown(images):
    subset = np.array([1, 5, 8, 9, 20, 21, 22, 30, 39])
    batches = RotationBatches(images, STILL, SEEDS, subset)
    assert batches.steps_per_epoch == 1
    assert all(set(batches.batch(step).indices.tolist()) <= set(subset.tolist()) for step in range(4))


def test_a_killed_pre_training_goes_on_to_the_same_bits(images, make_model):
    model = with_head(make_model(), ROTATIONS)
    saved = []
    whole = train(
        copy.deepcopy(model),
        images,
        MOVING,
        seeds=SEEDS,
        observers=[StateObserver(saved.append, every_steps=7)],
        batches=RotationBatches(images, MOVING, SEEDS),
    )
    assert saved[-1].step == 7
    rest = train(
        copy.deepcopy(model),
        images,
        MOVING,
        seeds=SEEDS,
        observers=[StateObserver(saved.append, every_steps=7)],
        resume=saved[-1],
        batches=RotationBatches(images, MOVING, SEEDS),
    )
    assert all(torch.equal(whole.weights[name], rest.weights[name]) for name in whole.weights)


def test_rotations_can_be_learned_and_evaluated():
    """A bright upper edge tells every rotation; labels of the images say nothing."""
    pixels = torch.zeros(64, 1, 6, 6, dtype=torch.uint8)
    pixels[:, :, 0] = 255
    images = Images(pixels, torch.zeros(64, dtype=torch.int64), ("a",), (0.2,), (0.4,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, ROTATIONS))
    recipe = Recipe(steps=30, batch_size=16, lr=0.1, crop_padding=0, flip=False, precision="float32")
    train(model, images, recipe, seeds=SEEDS, batches=RotationBatches(images, recipe, SEEDS))
    held_out = rotated_images(images, seed=5)
    assert held_out.num_classes == ROTATIONS
    assert set(held_out.labels.tolist()) == set(range(ROTATIONS))
    assert evaluate(model, held_out).accuracy == 1.0


@pytest.mark.parametrize("shape", [(4, 1, 3, 5), (4, 9)])
def test_images_that_are_not_square_are_refused(shape):
    images = Images(torch.zeros(shape), torch.zeros(4, dtype=torch.int64), ("a",))
    with pytest.raises(DataError, match="square images"):
        RotationBatches(images, STILL, SEEDS)
    with pytest.raises(DataError, match="square images"):
        rotated_images(images)


@pytest.mark.parametrize(("name", "head"), [("resnet8", "fc"), ("vgg16", "fc"), ("lenet_300_100", "fc3")])
def test_the_head_is_the_last_linear_layer(name, head):
    assert head_name(build_model(name, width=4, image_size=8)) == head


def test_a_network_without_a_linear_layer_has_no_head():
    with pytest.raises(UserError, match="no linear layer"):
        with_head(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), ROTATIONS)


def test_another_head_leaves_the_body_and_the_network_alone(make_model):
    model = make_model().eval()
    before, chance = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    swapped = with_head(model, 7, seed=1)
    assert torch.equal(chance, torch.get_rng_state())
    assert swapped(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    assert not swapped.get_submodule("5").training
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)
        assert name.startswith("5.") or torch.equal(swapped.state_dict()[name], value)
    assert torch.equal(with_head(model, 7, seed=1).get_parameter("5.weight"), swapped.get_parameter("5.weight"))
    assert not torch.equal(with_head(model, 7, seed=2).get_parameter("5.weight"), swapped.get_parameter("5.weight"))
    assert float(swapped.get_parameter("5.bias").detach().abs().sum()) == 0


def test_afterwards_the_body_is_trained_and_the_head_as_it_was_at_first(images, make_model):
    model = make_model()
    initial = copy.deepcopy(model.state_dict())
    rotator = with_head(model, ROTATIONS)
    trained = train(
        rotator, images, STILL, seeds=SEEDS, stop_step=5, batches=RotationBatches(images, STILL, SEEDS)
    ).weights
    point = pretext_weights(trained, initial, head_name(model))
    model.load_state_dict(point)
    assert point.keys() == initial.keys()
    for name in point:
        assert torch.equal(point[name], (initial if name.startswith("5.") else trained)[name])
    assert not torch.equal(point["0.weight"], initial["0.weight"])
    assert not torch.equal(point["1.running_mean"], initial["1.running_mean"])


def test_weights_of_another_network_or_another_head_are_refused(make_model):
    initial = make_model().state_dict()
    with pytest.raises(UserError, match=r"'0\.weight' differs"):
        pretext_weights({**initial, "0.weight": torch.zeros(1)}, initial, "5")
    with pytest.raises(UserError, match="no head 'fc'"):
        pretext_weights(initial, initial, "fc")
