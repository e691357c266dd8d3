import numpy as np
import pytest
import torch

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.subset import Subset
from ticketdiet.training.batch_norm import recalibrated
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.observers import EvaluationObserver
from ticketdiet.training.pretext import RotationBatches


def test_it_trains_for_k_steps_from_the_initialisation_of_the_replicate(tiny, same):
    stage, training, start = tiny.prepare(Pretrain, "all@4")
    assert same(start, tiny.initial().state_dict())
    assert (training.start_step, training.stop_step, training.recipe) == (0, 4, stage.recipe)
    assert training.seeds == RunSeeds.of(0, 0)
    assert training.mask is training.examples is None
    assert torch.equal(training.images.labels, tiny.train.labels)


def test_it_sees_the_subset_of_its_arm(tiny):
    stage, training, _ = tiny.prepare(Pretrain, "easiest32@4")
    subset = tiny.find(Subset, "easiest32@4")
    assert stage.subset == subset.address
    np.testing.assert_array_equal(training.examples, tiny.context.subset(subset.address))
    assert len(training.examples) == 32


def test_without_a_step_only_the_point_is_measured(tiny, same, pretended):
    stage, training, _ = tiny.prepare(Pretrain, "none@0")
    assert (stage.steps, stage.recipe.steps, training.stop_step) == (0, 1, 0)
    result = stage.finish(tiny.context, training, tiny.context.train(stage, training))
    assert same(result.tensors["weights"], tiny.initial().state_dict())


def test_wrong_labels_are_those_of_its_noise(tiny, pretended):
    stage, training, _ = tiny.prepare(Pretrain, "noisy@4")
    expected = stage.label_noise.apply(tiny.train.labels.numpy(), 10, None)
    np.testing.assert_array_equal(training.images.labels.numpy(), expected.labels)
    assert stage.finish(tiny.context, training, pretended(training)).facts["labels_changed"] == 48


def test_rotations_are_trained_under_another_head_and_the_point_has_the_first_one_again(tiny, pretended):
    stage, training, start = tiny.prepare(Pretrain, "rotated@4")
    initial = tiny.initial().state_dict()
    heads = [name for name, value in initial.items() if value.dim() == 2]
    assert [start[name].shape[0] for name in heads] == [4]
    assert isinstance(training.batches, RotationBatches)
    point = stage.finish(tiny.context, training, pretended(training)).tensors["weights"]
    assert torch.equal(point[heads[0]], initial[heads[0]])


def test_it_is_evaluated_on_the_subset_and_the_rest_every_so_often(tiny):
    stage, training, _ = tiny.prepare(Pretrain, "random@4")
    looks = [one for one in training.observers if isinstance(one, EvaluationObserver)]
    assert len(looks) == 2  # with BatchNorm as it is, and recalibrated
    trained = tiny.context.train(stage, training)
    rows = stage.finish(tiny.context, training, trained).rows
    for metric in ("accuracy", "accuracy_recalibrated"):
        found = {(row["step"], row["split"]) for row in rows if row["metric"] == metric}
        assert found == {(step, split) for step in (0, 2, 4) for split in ("train", "test", "subset", "rest")}


def test_the_rows_are_those_of_the_training_and_of_the_point_with_recalibrated_statistics(tiny, pretended):
    stage, training, _ = tiny.prepare(Pretrain, "all@4")
    result = stage.finish(tiny.context, training, pretended(training))
    assert result.rows[0] == {"step": 12, "metric": "accuracy", "split": "test", "value": 0.25}
    model = tiny.initial()
    with recalibrated(model, tiny.train):
        expected = evaluate(model, tiny.train).accuracy
    (own,) = [r for r in result.rows if (r["metric"], r["split"]) == ("accuracy_recalibrated", "train")]
    assert own["value"] == pytest.approx(expected)
    assert own["step"] == 4
    assert result.facts["examples_seen"] == 80
    assert result.facts["kernels"] == "imaginary"
