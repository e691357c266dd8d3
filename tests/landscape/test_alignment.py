"""Aligned networks compute the same function, and permuted copies are found out."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.values import Images
from ticketdiet.landscape.alignment import align
from ticketdiet.landscape.measurement import measure_barrier
from ticketdiet.landscape.modes import AlignmentMethod
from ticketdiet.landscape.symmetries import find_symmetries
from ticketdiet.training.batch_norm import recalibrate

from .conftest import MakeNetwork, WeightsOf, outputs, random_orders


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("name", ["resnet8", "resnet14", "vgg16", "lenet_300_100", "lowres_resnet50"])
def test_a_permuted_copy_is_found_out_and_its_barrier_vanishes(
    name: str, method: AlignmentMethod, images: Images, network: MakeNetwork, weights_of: WeightsOf
) -> None:
    model = network(1, name, 6)
    # With random statistics a deep network collapses: all units of a layer then say the same and cannot be told apart.
    recalibrate(model, images, batches=1, batch_size=48)
    a = weights_of(model)
    b = find_symmetries(model).permute(a, random_orders(find_symmetries(model), 3))
    found = align(model, a, b, method=method, images=images)
    assert measure_barrier(model, a, b, images).per_example.abs().max() > 1e-3
    barrier = measure_barrier(model, a, found.weights, images)
    assert barrier.per_example.abs().max() < 1e-3
    assert found.distance_after < 1e-3 * found.distance_before


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_the_aligned_network_computes_what_b_did_and_is_nearer_to_a(
    method: AlignmentMethod, images: Images, network: MakeNetwork, weights_of: WeightsOf
) -> None:
    model = network(0)
    a, b = weights_of(network(1)), weights_of(network(2))
    before = weights_of(model)
    found = align(model, a, b, method=method, images=images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(outputs(model, found.weights, images), outputs(model, b, images), rtol=1e-4, atol=1e-4)
    if method == "weights":
        assert found.distance_after < found.distance_before


def test_one_hidden_layer_is_matched_as_well_as_by_trying_all_orders() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 5))
    a, b = (
        {name: torch.randn(t.shape, generator=generator) for name, t in model.state_dict().items()} for _ in range(2)
    )
    found = align(model, a, b)

    def distance(order: tuple[int, ...]) -> float:
        index = list(order)
        moved = [b["1.weight"][index], b["1.bias"][index], b["3.weight"][:, index]]
        return float(
            sum(((x - y) ** 2).sum() for x, y in zip(moved, [a["1.weight"], a["1.bias"], a["3.weight"]], strict=True))
        )

    best = min(itertools.permutations(range(5)), key=distance)
    assert tuple(found.orders[0]) == best
    assert found.distance_after**2 == pytest.approx(distance(best), rel=1e-5)


def test_the_mask_moves_with_its_weights(network: MakeNetwork, weights_of: WeightsOf) -> None:
    model = network(0)
    a, b = weights_of(network(1)), weights_of(network(2))
    mask = {"blocks.0.conv1.weight": (b["blocks.0.conv1.weight"].abs() > 0.2).to(torch.uint8)}
    b = {name: tensor * mask[name] if name in mask else tensor for name, tensor in b.items()}
    found = align(model, a, b)
    permuted = found.permute_mask(mask)
    assert permuted is not None
    moved = permuted["blocks.0.conv1.weight"]
    assert torch.equal(moved != 0, found.weights["blocks.0.conv1.weight"] != 0)
    assert not torch.equal(moved, mask["blocks.0.conv1.weight"])
    assert found.permute_mask(None) is None


def test_the_same_seed_gives_the_same_orders(network: MakeNetwork, weights_of: WeightsOf) -> None:
    model = network(0)
    a, b = weights_of(network(1)), weights_of(network(2))
    first, again = (align(model, a, b, seed=5) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(first.orders, again.orders, strict=True))


def test_mistakes_are_refused(images: Images, network: MakeNetwork, weights_of: WeightsOf) -> None:
    model = network(0)
    a = weights_of(model)
    with pytest.raises(UnknownName, match="activations"):
        align(model, a, a, method="activation")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs images"):
        align(model, a, a, method="activations")
    with pytest.raises(UserError, match=r"'fc\.bias' is \(5,\) in the network and \(1,\) in b"):
        align(model, a, {**a, "fc.bias": torch.zeros(1)})
