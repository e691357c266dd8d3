import numpy as np
import pytest

from ticketdiet.landscape.barrier import connected_fraction
from ticketdiet.landscape.family import measure_family
from ticketdiet.landscape.measurement import measure_pairs
from ticketdiet.studies.stages.barrier import BarrierStage

METRICS = ("barrier_mean", "barrier_max", "error_barrier", "connected_fraction")


@pytest.fixture(scope="module")
def family(tiny):
    stage = tiny.find(BarrierStage, "all@4", 1, family=True)
    return stage, stage.compute(tiny.context)


@pytest.fixture(scope="module")
def successive(tiny):
    stage = tiny.find(BarrierStage, "all@4", 1, family=False)
    return stage, stage.compute(tiny.context)


def test_a_family_has_a_row_per_metric_pair_and_split_and_one_of_all_pairs(family):
    _, result = family
    pairs = ("parent-child1", "parent-child2", "child1-child2", "family")
    found = [(row["metric"], row["pair"], row["split"]) for row in result.rows]
    assert sorted(found) == sorted((m, p, s) for m in METRICS for p in pairs for s in ("train", "test"))
    assert {(row["step"], row["tolerance"]) for row in result.rows} == {(12, 0.1)}


def test_its_numbers_are_those_of_the_family_measured_by_hand(tiny, family):
    stage, result = family
    parent, *children = (tiny.context.weights(address) for address in stage.networks.values())
    expected = measure_family(tiny.initial(), parent, children, tiny.train)
    rows = {row["metric"]: row["value"] for row in result.rows if (row["pair"], row["split"]) == ("family", "train")}
    assert rows["barrier_mean"] == pytest.approx(expected.mean)
    assert rows["barrier_max"] == pytest.approx(expected.max)
    assert rows["connected_fraction"] == pytest.approx(connected_fraction(expected.per_example, 0.1))
    np.testing.assert_allclose(result.tensors["barrier"]["train/family"].numpy(), expected.per_example, rtol=1e-5)


def test_its_arrays_are_what_figures_need_of_every_pair(family):
    _, result = family
    arrays = result.tensors["barrier"]
    assert arrays["alphas"].tolist() == result.facts["alphas"] == [0.0, 0.5, 1.0]
    assert result.facts["pairs"] == ["parent-child1", "parent-child2", "child1-child2"]
    for pair in result.facts["pairs"]:
        assert arrays[f"train/{pair}/per_example"].shape == (96,)
        assert len(arrays[f"train/{pair}/loss"]) == len(arrays[f"train/{pair}/error"]) == 3
    mean = sum(arrays[f"train/{pair}/per_example"] for pair in result.facts["pairs"]) / 3
    np.testing.assert_allclose(arrays["train/family"].numpy(), mean.numpy(), rtol=1e-5, atol=1e-6)


def test_two_successive_levels_are_one_pair_each_under_its_own_mask(tiny, successive):
    stage, result = successive
    assert list(stage.networks) == ["level00", "level01"]
    assert {row["pair"] for row in result.rows} == {"level00-level01"}
    weights = {role: tiny.context.weights(address) for role, address in stage.networks.items()}
    masks = {role: tiny.context.mask(address) for role, address in stage.networks.items()}
    (expected,) = measure_pairs(tiny.initial(), weights, tiny.train, (0.5,), "interpolate", masks=masks)
    (own,) = [r["value"] for r in result.rows if (r["metric"], r["split"]) == ("barrier_mean", "train")]
    assert own == pytest.approx(expected.mean)


def test_the_density_is_that_of_the_sparsest_network(tiny, family, successive):
    for stage, result in (family, successive):
        level = stage.networks["parent" if stage.family else "level01"]
        assert result.facts["density"] == tiny.store.document(level, "facts")["density"]
