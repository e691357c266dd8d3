"""The barriers among a parent and its children, against those of single pairs."""

import pytest
import torch

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.values import Images
from ticketdiet.landscape.barrier import PairBarrier, connected_fraction
from ticketdiet.landscape.family import Family, measure_family
from ticketdiet.landscape.measurement import measure_barrier

from .conftest import MakeNetwork, Pair, WeightsOf


def test_the_family_is_the_mean_over_all_three_pairs(
    pair: Pair, images: Images, network: MakeNetwork, weights_of: WeightsOf
) -> None:
    model, a, b = pair
    c = weights_of(network(3))
    family = measure_family(model, a, [b, c], images, alphas=(0.25, 0.75))
    singles = [measure_barrier(model, x, y, images, alphas=(0.25, 0.75)) for x, y in ((a, b), (a, c), (b, c))]
    assert [(p.a, p.b) for p in family.pairs] == [("parent", "child1"), ("parent", "child2"), ("child1", "child2")]
    assert family.mean == pytest.approx(sum(s.mean for s in singles) / 3)
    assert family.max == pytest.approx(sum(s.max for s in singles) / 3)
    assert family.error_barrier == pytest.approx(sum(s.error_barrier for s in singles) / 3)
    torch.testing.assert_close(family.per_example, torch.stack([s.per_example for s in singles]).mean(0))
    assert float(family.per_example.mean()) == pytest.approx(family.mean)
    for kept, single in zip(family.pairs, singles, strict=True):
        assert (kept.mean, kept.max, kept.error_barrier) == (single.mean, single.max, single.error_barrier)
    assert family.alphas == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_an_example_of_a_family_is_connected_by_its_mean_over_the_pairs() -> None:
    barriers = ([0.0, 0.05, 0.4], [0.0, 0.2, 0.0], [0.0, 0.03, 0.0])
    flat = torch.zeros(3, dtype=torch.float64)
    pairs = [PairBarrier("a", "b", (0.0, 0.5, 1.0), torch.tensor(b, dtype=torch.float64), flat, flat) for b in barriers]
    family = Family(tuple(pairs), "interpolate")
    assert (family.per_example <= 0.1).tolist() == [True, True, False]
    assert connected_fraction(family.per_example, 0.1) == pytest.approx(2 / 3)  # 7 of the 9 barriers are at most 0.1


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_children_are_refused(pair: Pair, images: Images, count: int) -> None:
    model, a, b = pair
    with pytest.raises(UserError, match=r"(?s)at least two children.*measure_barrier"):
        measure_family(model, a, [b][:count], images)


def test_one_mask_holds_for_the_whole_family(pair: Pair, images: Images) -> None:
    model, a, b = pair
    mask = {"fc.weight": torch.zeros(5, 16)}
    family = measure_family(model, a, [b, b], images, mask=mask)
    single = measure_barrier(model, a, b, images, mask_a=mask, mask_b=mask)
    assert torch.equal(family.pairs[0].per_example, single.per_example)


def test_a_family_is_a_score_of_its_own_images(pair: Pair, images: Images) -> None:
    model, a, b = pair
    family = measure_family(model, a, [b, b], images)
    scores = family.as_scores(images)
    assert scores.matrix.shape == (3, 48)
    assert scores.matrix.dtype == "float32"
    torch.testing.assert_close(torch.from_numpy(scores.mean), family.per_example, rtol=1e-5, atol=1e-6)
    scores.check_belongs_to(images)
    with pytest.raises(DataError, match="48 scores for 10 images"):
        family.as_scores(images.take(torch.arange(10)))
