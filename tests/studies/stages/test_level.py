import pytest
import torch

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.tickets.masks import apply_mask
from ticketdiet.tickets.pruning import prune
from ticketdiet.training.recipe import Recipe

ARMS = ["all@4", "rate@4", "tuned@4", "noisy@4"]


@pytest.mark.parametrize("arm", ARMS)
def test_level_0_is_dense_and_starts_at_the_rewinding_point_under_every_restart(tiny, same, arm):
    stage, training, start = tiny.prepare(Level, arm, 0)
    assert all((kept == 1).all() for kept in training.mask.values())
    assert same(start, tiny.context.weights(tiny.find(Pretrain, arm).address))
    assert (training.start_step, training.stop_step) == (4, None)
    assert training.recipe == stage.recipe
    assert training.seeds == RunSeeds.of(0, 0)


@pytest.mark.parametrize("arm", ARMS)
def test_the_mask_of_a_level_is_that_of_pruning_the_level_before_by_magnitude(tiny, same, arm):
    stage, training, _ = tiny.prepare(Level, arm, 1)
    before = tiny.context.weights(stage.previous), tiny.context.mask(stage.previous)
    assert same(training.mask, prune(*before, 0.5))


def test_weights_are_rewound_under_the_mask(tiny, same):
    stage, training, start = tiny.prepare(Level, "all@4", 1)
    assert same(start, apply_mask(tiny.context.weights(stage.point), training.mask))
    assert training.recipe == stage.recipe


@pytest.mark.parametrize("arm", ["rate@4", "tuned@4"])
def test_other_restarts_go_on_from_the_trained_weights_of_the_level_before(tiny, same, arm):
    stage, training, start = tiny.prepare(Level, arm, 1)
    assert same(start, apply_mask(tiny.context.weights(stage.previous), training.mask))
    assert training.start_step == 4


def test_fine_tuning_has_one_rate_and_learning_rate_rewinding_has_those_of_training(tiny):
    _, tuned, _ = tiny.prepare(Level, "tuned@4", 1)
    stage, rewound, _ = tiny.prepare(Level, "rate@4", 1)
    assert (tuned.recipe.lr, tuned.recipe.schedule, tuned.recipe.steps) == (0.02, "constant", 12)
    assert rewound.recipe == stage.recipe


def test_a_level_sees_the_labels_of_training(tiny):
    stage, training, _ = tiny.prepare(Level, "noisy@4", 1)
    expected = stage.label_noise.apply(tiny.train.labels.numpy(), 10, None)
    assert training.images.labels.tolist() == expected.labels.tolist()
    clean, plain, _ = tiny.prepare(Level, "all@4", 1)
    assert clean.label_noise is None
    assert torch.equal(plain.images.labels, tiny.train.labels)


def test_what_is_kept_is_the_weights_the_mask_and_how_dense_it_is(tiny, same, pretended):
    stage, training, start = tiny.prepare(Level, "all@4", 1)
    result = stage.finish(tiny.context, training, pretended(training))
    assert same(result.tensors["weights"], start)
    assert same(result.tensors["mask"], training.mask)
    kept, total = (sum(int(f(m)) for m in training.mask.values()) for f in (torch.sum, torch.numel))
    assert (result.facts["kept"], result.facts["density"]) == (kept, kept / total)
    assert kept == total - -(-total // 2)
    assert set(result.facts["layer_densities"]) == set(training.mask)
    assert result.rows == ({"step": 12, "metric": "accuracy", "split": "test", "value": 0.25},)
    assert result.warnings == ()


def test_layers_without_a_weight_are_warned_of(tiny, pretended):
    stage, training, _ = tiny.prepare(Level, "all@4", 1)
    name = next(iter(training.mask))
    training.mask[name].zero_()
    (warning,) = stage.finish(tiny.context, training, pretended(training)).warnings
    assert warning == f"{stage.label}: every weight of layer {name} is pruned."


def test_it_is_evaluated_at_the_end_and_on_what_is_held_out_along_the_way(tiny):
    stage, training, _ = tiny.prepare(Level, "none@0", 0)
    rows = stage.finish(tiny.context, training, tiny.context.train(stage, training)).rows
    found = {(row["step"], row["split"]) for row in rows if row["metric"] == "accuracy"}
    assert found == {(3, "test"), (6, "test"), (9, "test"), (12, "test"), (12, "train")}


def test_the_recipe_of_the_study_is_that_of_its_levels(tiny):
    recipe = Recipe(steps=12, batch_size=16, lr=0.05, crop_padding=1, flip=False, precision="float32")
    assert tiny.find(Level, "all@4", 1).recipe == recipe
