import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.options import make
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.loop import train
from ticketdiet.training.objectives import OBJECTIVES, Objective, Pretraining, pretrain
from ticketdiet.training.pretext import ROTATIONS, RotationBatches, head_name, pretext_weights, with_head
from ticketdiet.training.recipe import Recipe

RECIPE = Recipe(steps=12, batch_size=8, crop_padding=1)
SEEDS = RunSeeds.of(3, 0)
SUBSET = np.array([1, 5, 8, 9, 20, 21, 22, 30, 39])


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def task(model, images, examples=None, seeds=SEEDS):
    return Pretraining(model, images, RECIPE, seeds, examples)


@pytest.mark.parametrize("examples", [None, SUBSET])
def test_pre_training_on_labels_is_ordinary_training_to_the_bit(images, make_model, examples):
    found = pretrain(make(OBJECTIVES, "labels"), task(make_model(), images, examples), stop_step=5)
    expected = train(make_model(), images, RECIPE, seeds=SEEDS, stop_step=5, examples=examples)
    assert same(found.point, expected.weights)
    assert found.trained.unique_examples == expected.unique_examples


def test_pre_training_on_rotation_is_its_parts_put_together(images, make_model):
    model = make_model()
    initial = copy.deepcopy(model.state_dict())
    found = pretrain(make(OBJECTIVES, "rotation"), task(model, images, SUBSET), stop_step=5)
    rotator = with_head(make_model(), ROTATIONS, SEEDS.initialisation)
    batches = RotationBatches(images, RECIPE, SEEDS, SUBSET)
    trained = train(rotator, images, RECIPE, seeds=SEEDS, stop_step=5, batches=batches)
    assert same(found.trained.weights, trained.weights)
    assert same(found.point, pretext_weights(trained.weights, initial, head_name(model)))
    assert same(model.state_dict(), initial)


def test_rotation_is_evaluated_on_rotated_splits(images):
    splits = make(OBJECTIVES, "rotation").evaluated({"train": images, "test": images}, SEEDS)
    assert set(splits) == {"train_rotated", "test_rotated"}
    assert all(split.num_classes == ROTATIONS for split in splits.values())


def test_random_labels_are_a_permutation_that_stays_for_a_run_and_differs_between_runs(images):
    objective = make(OBJECTIVES, "random_labels")

    def labels(seeds):
        return objective.evaluated({"train": images, "test": images}, seeds)["train_random_labels"].labels

    assert Counter(labels(SEEDS).tolist()) == Counter(images.labels.tolist())
    assert torch.equal(labels(SEEDS), labels(SEEDS))
    assert not torch.equal(labels(SEEDS), images.labels)
    assert not torch.equal(labels(SEEDS), labels(RunSeeds.of(3, 1)))
    batch = objective.batches(task(None, images)).batch(2)
    assert torch.equal(batch.labels, labels(SEEDS)[batch.indices])
    plain = ImageBatches(images, RECIPE, SEEDS).batch(2)
    assert torch.equal(batch.inputs, plain.inputs)


def test_random_labels_can_be_memorised(images, make_model):
    objective, recipe = (
        make(OBJECTIVES, "random_labels"),
        Recipe(steps=150, batch_size=8, lr=0.05, crop_padding=0, flip=False),
    )
    model = make_model()
    found = pretrain(objective, Pretraining(model, images, recipe, SEEDS), stop_step=150)
    split = objective.evaluated({"train": images}, SEEDS)["train_random_labels"]
    assert evaluate(model, split, weights=found.point).accuracy > 0.8 > evaluate(model, images).accuracy


class Brightness(Objective):
    """Whether an image is brighter than most."""

    def batches(self, pretraining):
        bright = pretraining.images.pixels.float().flatten(1).mean(1)
        labels = (bright > bright.median()).long()
        images = replace(pretraining.images, labels=labels)
        return ImageBatches(images, pretraining.recipe, pretraining.seeds, pretraining.examples)


def test_an_objective_of_another_package_pre_trains(images, make_model):
    with OBJECTIVES.temporarily("brightness", Brightness):
        found = pretrain(make(OBJECTIVES, "brightness"), task(make_model(), images), stop_step=3)
    assert found.point.keys() == make_model().state_dict().keys()
    assert not same(found.point, train(make_model(), images, RECIPE, seeds=SEEDS, stop_step=3).weights)


def test_an_unknown_objective_or_option_is_refused():
    with pytest.raises(UnknownName, match="one of: labels, random_labels, rotation"):
        make(OBJECTIVES, "jigsaw")
    with pytest.raises(UserError, match="objective 'rotation' has no option 'turns'"):
        make(OBJECTIVES, "rotation", {"turns": 8})


def test_only_labels_predict_labels():
    assert [name for name in OBJECTIVES.names() if OBJECTIVES.get(name).predicts_labels] == ["labels"]
