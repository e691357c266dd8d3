import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.geometry import angle_between, distance, mask_overlap, sign_changes

Pair = tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]


def flat(model: nn.Module, weights: dict[str, Tensor]) -> np.ndarray:
    return np.concatenate([weights[name].numpy().ravel() for name, _ in model.named_parameters()]).astype(float)


def test_distance_angle_and_signs_agree_with_numpy_on_the_parameters(pair: Pair) -> None:
    model, a, b = pair
    x, y = flat(model, a), flat(model, b)
    found = distance(a, b)
    assert found.l2 == pytest.approx(np.linalg.norm(x - y))
    assert found.relative == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x))
    assert found.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert sign_changes(a, b).fraction == pytest.approx(np.mean(x * y < 0))
    o = flat(model, model.state_dict())
    cosine = (x - o) @ (y - o) / np.linalg.norm(x - o) / np.linalg.norm(y - o)
    assert angle_between(model.state_dict(), a, b) == pytest.approx(math.degrees(math.acos(cosine)))


def test_a_right_angle_an_opposite_and_the_same_way() -> None:
    at = lambda *values: {"w": torch.tensor(values)}  # noqa: E731
    assert angle_between(at(1.0, 1.0), at(2.0, 1.0), at(1.0, 5.0)) == pytest.approx(90)
    assert angle_between(at(0.0, 0.0), at(1.0, 1.0), at(-2.0, -2.0)) == pytest.approx(180)
    assert angle_between(at(0.0, 0.0), at(1.0, 1.0), at(3.0, 3.0)) == pytest.approx(0, abs=1e-6)
    assert math.isnan(angle_between(at(1.0, 0.0), at(1.0, 0.0), at(3.0, 3.0)))


def test_zeros_have_no_sign_and_masked_weights_are_not_counted() -> None:
    a, b = {"w": torch.tensor([1.0, -1.0, 0.0, 2.0])}, {"w": torch.tensor([-1.0, -2.0, 3.0, -2.0])}
    assert sign_changes(a, b).fraction == 0.5
    kept = {"w": torch.tensor([1, 1, 1, 0])}
    assert sign_changes(a, b, mask=kept).by_tensor["w"] == pytest.approx(1 / 3)
    assert distance(a, b, mask=kept).l2 == pytest.approx(math.sqrt(4 + 1 + 9))


def test_only_the_named_tensors_are_compared(pair: Pair) -> None:
    _, a, b = pair
    assert distance(a, b, names=["fc.bias"]).l2 == pytest.approx(float((a["fc.bias"] - b["fc.bias"]).norm()))
    with pytest.raises(UserError, match=r"no tensor 'fc\.weights'"):
        distance(a, b, names=["fc.weights"])
    del b["fc.bias"]
    with pytest.raises(UserError, match=r"'fc\.bias'.*missing in b"):
        distance(a, b)


def test_overlap_of_masks_by_hand() -> None:
    a = {"u": torch.tensor([1, 1, 0, 0]), "v": torch.tensor([1, 1])}
    b = {"u": torch.tensor([0, 1, 1, 1]), "v": torch.tensor([0, 0])}
    found = mask_overlap(a, b)
    u = found.by_tensor["u"]
    assert (u.jaccard, u.fraction, u.fraction_by_chance_layerwise, u.fraction_by_chance_uniform) == (
        0.25,
        0.5,
        0.75,
        0.75,
    )
    assert found.by_tensor["v"].jaccard == 0
    assert math.isnan(found.by_tensor["v"].fraction)
    assert (found.overall.jaccard, found.overall.fraction) == (1 / 6, 1 / 3)
    assert (found.overall.kept_a, found.overall.kept_b) == (4, 3)
    assert found.overall.fraction_by_chance_layerwise == pytest.approx((2 * 3 / 4 + 2 * 0 / 2) / 3)
    assert found.overall.fraction_by_chance_uniform == 4 / 6
    assert mask_overlap(a, a).overall.jaccard == mask_overlap(a, a).overall.fraction == 1


def test_random_masks_share_what_chance_says() -> None:
    generator = torch.Generator().manual_seed(0)
    sparse, dense = ({"w": torch.rand(100_000, generator=generator) < d} for d in (0.1, 0.3))
    found = mask_overlap(sparse, dense).overall
    assert found.fraction == pytest.approx(found.fraction_by_chance_uniform, abs=0.02)
    assert found.fraction_by_chance_layerwise == pytest.approx(found.fraction_by_chance_uniform)


def test_masks_drawn_within_layers_share_on_average_what_their_layer_densities_say() -> None:
    """Monte Carlo in numpy: fixed numbers of weights in every layer, positions at random."""
    rng = np.random.default_rng(0)
    sizes, kept_a, kept_b = {"in": 40, "body": 200, "out": 20}, {"in": 36, "body": 20, "out": 0}, {"in": 30, "body": 50}
    fractions = []
    for _ in range(4000):
        both = 0
        for name, kept in kept_b.items():
            mine = rng.permutation(sizes[name])[: kept_a[name]]
            both += np.intersect1d(mine, rng.permutation(sizes[name])[:kept], assume_unique=True).size
        fractions.append(both / min(sum(kept_a.values()), sum(kept_b.values())))
    a, b = (
        {name: (torch.arange(size) < kept.get(name, 0)).int() for name, size in sizes.items()}
        for kept in (kept_a, kept_b)
    )
    found = mask_overlap(a, b).overall
    error = float(np.std(fractions)) / math.sqrt(len(fractions))
    assert found.fraction_by_chance_layerwise == pytest.approx(np.mean(fractions), abs=4 * error)
    assert found.fraction_by_chance_layerwise > found.fraction_by_chance_uniform + 20 * error


def test_masks_of_other_shapes_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'w' is \(2,\) in mask a and \(3,\) in mask b"):
        mask_overlap({"w": torch.ones(2)}, {"w": torch.ones(3)})
