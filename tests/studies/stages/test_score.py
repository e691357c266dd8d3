import dataclasses

import numpy as np
import torch

from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.stages.score_model import ScoreModel


def matrix(result):
    return result.tensors["scores"]["matrix"]


def test_a_score_stacks_the_rows_of_its_models_in_their_order(tiny):
    stage = tiny.find(Score, "el2n")
    result = stage.compute(tiny.context)
    rows = [tiny.store.tensors(tiny.find(ScoreModel, "el2n", index=i).address, "scores")["scores"] for i in (0, 1)]
    assert torch.equal(matrix(result), torch.stack(rows))
    assert result.rows == ()
    assert result.facts["made_by"]["score"] == "el2n"


def test_a_permuted_score_has_the_values_of_what_it_permutes_in_another_order(tiny):
    permuted = tiny.find(Score, "mixed")
    plain = dataclasses.replace(permuted, permuted=None)
    values, others = matrix(permuted.compute(tiny.context)), matrix(plain.compute(tiny.context))
    assert torch.equal(values.sort().values, others.sort().values)
    assert not torch.equal(values, others)
    again = dataclasses.replace(permuted, permuted=permuted.permuted + 1)
    assert not torch.equal(matrix(again.compute(tiny.context)), values)


def test_a_barrier_score_is_the_barrier_of_each_example_in_the_dense_family_of_its_arm(tiny):
    stage = tiny.find(Score, "far")
    family = tiny.make(BarrierStage, "all@4", 0, family=True)
    assert stage.model == (family.address,)
    expected = tiny.store.tensors(family.address, "barrier")["train/family"]
    assert torch.equal(matrix(stage.compute(tiny.context))[0], expected.float())


def test_a_score_of_wrong_labels_is_judged_as_their_detector(tiny):
    noise = SeenNoise("symmetric", {"fraction": 0.25}, None, seed=5)
    changed = noise.apply(tiny.train.labels.numpy(), 10, None).changed
    stage = dataclasses.replace(tiny.find(Score, "el2n"), label_noise=noise)
    result = stage.compute(tiny.context)
    rows = {row["metric"]: row for row in result.rows}
    assert set(rows) == {"noise_auroc", "noise_precision"}
    assert {(row["step"], row["split"]) for row in result.rows} == {(6, "train")}
    values = matrix(result).double().mean(0).numpy()
    wins = values[changed][:, None] > values[~changed][None]
    assert np.isclose(rows["noise_auroc"]["value"], wins.mean(), atol=1e-6)


def test_small_pictures_of_the_extremes_are_kept_beside_the_score(tiny):
    shown = tiny.find(Score, "el2n").compute(tiny.context).tensors["shown"]
    assert torch.equal(shown["pixels"], tiny.train.pixels[shown["indices"]])
    assert shown["indices"].tolist() == sorted(set(shown["indices"].tolist()))
