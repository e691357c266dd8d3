import dataclasses

import numpy as np
import pytest
import torch

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import RunSeeds, derive_seed
from ticketdiet.scores.driver import score_with_model
from ticketdiet.scores.recorder import TrainingRecorder
from ticketdiet.studies.network import file_digest
from ticketdiet.studies.stages.score_model import GivenScore, ScoreModel


def test_every_model_has_an_initialisation_and_an_order_of_its_own(tiny, same):
    starts = [tiny.prepare(ScoreModel, "el2n", index=index) for index in (0, 1)]
    for index, (stage, training, start) in enumerate(starts):
        seeds = RunSeeds.of(derive_seed(stage.seed, "score"), index)
        assert training.seeds == seeds
        assert same(start, tiny.initial(seeds.initialisation).state_dict())
        assert (training.start_step, training.stop_step, training.observers) == (0, 6, ())
    assert not same(starts[0][2], starts[1][2])
    assert starts[0][1].seeds.order != starts[1][1].seeds.order


def test_models_of_scores_of_different_kinds_are_the_same_trainings(tiny, same):
    _, one, start = tiny.prepare(ScoreModel, "el2n", index=0)
    _, other, their_start = tiny.prepare(ScoreModel, "watched", index=0)
    assert one.seeds == other.seeds
    assert same(start, their_start)


def test_el2n_of_every_example_is_the_norm_of_the_error_vector(tiny, pretended):
    stage, training, _ = tiny.prepare(ScoreModel, "el2n", index=0)
    stage = dataclasses.replace(stage, batch_norm="eval")
    values = stage.finish(tiny.context, training, pretended(training)).tensors["scores"]["scores"]
    images = tiny.train
    inputs = (images.pixels.float() / 255 - torch.tensor(images.mean)) / torch.tensor(images.std)
    with torch.no_grad():
        chances = training.model.eval()(inputs).softmax(1)
    expected = (chances - torch.nn.functional.one_hot(images.labels, 10)).norm(dim=1)
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)


def test_a_score_that_watches_the_training_has_a_recorder_of_every_example(tiny):
    stage, training, _ = tiny.prepare(ScoreModel, "watched", index=0)
    (recorder,) = training.observers
    assert isinstance(recorder, TrainingRecorder)
    trained = tiny.context.train(stage, training)
    values = stage.finish(tiny.context, training, trained).tensors["scores"]["scores"]
    assert values.shape == (96,)
    assert not torch.isnan(values).any()


def test_a_random_score_is_drawn_by_its_seed_and_reads_only_how_many_there_are(tiny):
    stage = tiny.find(GivenScore, "luck")
    values = stage.compute(tiny.context).tensors["scores"]["scores"]
    seed = derive_seed(stage.seed, "score", "random", 0)
    np.testing.assert_array_equal(values.numpy(), score_with_model("random", None, tiny.train, seed=seed))
    other = dataclasses.replace(stage, seed=stage.seed + 1).compute(tiny.context).tensors["scores"]["scores"]
    assert not torch.equal(values, other)
    assert stage.cost.steps == 0


def test_a_score_of_a_file_is_what_the_file_says_and_known_by_its_content(tiny, plan_tiny, tmp_path):
    numbers = np.linspace(5, 1, 96)
    for name in ("one.npy", "same.npy"):
        np.save(tmp_path / name, numbers)
    np.save(tmp_path / "other.npy", numbers + 1)

    def given(name):
        return plan_tiny(f"scores.el2n={{kind: file, path: {tmp_path / name}}}").of(GivenScore)[0]

    stage = given("one.npy")
    assert stage.file == file_digest(str(tmp_path / "one.npy"))
    assert given("same.npy").address == stage.address != given("other.npy").address
    values = stage.compute(tiny.context).tensors["scores"]["scores"]
    np.testing.assert_allclose(values.numpy(), numbers.astype(np.float32))
    (tmp_path / "one.npy").unlink()
    with pytest.raises(DataError, match=r"one\.npy"):
        stage.compute(tiny.context)
