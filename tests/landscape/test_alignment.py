"""Aligned networks compute the same function, and permuted copies are found out."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.values import Images
from ticketdiet.landscape.alignment import align
from ticketdiet.landscape.barrier import measure_barrier
from ticketdiet.landscape.symmetries import Symmetries, find_symmetries
from ticketdiet.training.batch_norm import recalibrate

ARCHITECTURES = ["resnet8", "resnet14", "vgg16", "lenet_300_100", "lowres_resnet18", "lowres_resnet50"]


class Own(nn.Module):
    """A user's module: flattened positions, depthwise, functional calls, a layer that reads what it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.mix = nn.Conv2d(6, 6, 1)
        self.norm = nn.BatchNorm1d(6 * 4)
        self.hidden = nn.Linear(6 * 4, 7)
        self.out = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.depthwise(self.stem(x)))
        x = x + F.gelu(self.mix(x))
        x = F.max_pool2d(x, 4)
        x = self.norm(x.view(x.size(0), -1))
        return F.log_softmax(self.out(F.dropout(torch.tanh(self.hidden(x)), training=False)), dim=1)


def random_orders(symmetries: Symmetries, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.permutation(group.size) for group in symmetries.groups)


def outputs(model: nn.Module, weights: dict[str, Tensor], images: Images) -> Tensor:
    model.load_state_dict(weights)
    with torch.no_grad():
        return model.eval()(images.pixels)


@pytest.fixture
def own() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Own().eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_order_of_the_groups_leaves_the_function_as_it_is(name: str, images: Images, network, weights_of) -> None:
    model = network(1, name, 6)
    weights = weights_of(model)
    symmetries = find_symmetries(model)
    permuted = symmetries.permute(weights, random_orders(symmetries, 0))
    torch.testing.assert_close(outputs(model, permuted, images), outputs(model, weights, images), rtol=1e-4, atol=1e-4)
    last = "fc.weight" if "fc.weight" in weights else "fc3.weight"
    assert not torch.equal(permuted[last], weights[last])


def test_any_order_of_a_users_own_network_leaves_its_function_as_it_is(
    own: nn.Module, images: Images, weights_of
) -> None:
    weights = weights_of(own)
    symmetries = find_symmetries(own)
    permuted = symmetries.permute(weights, random_orders(symmetries, 1))
    torch.testing.assert_close(outputs(own, permuted, images), outputs(own, weights, images))
    assert [(group.size, len(group.axes)) for group in symmetries.groups] == [(6, 12), (7, 3)]


def test_residual_additions_tie_orders_and_inner_layers_are_free(network) -> None:
    sizes = sorted(group.size for group in find_symmetries(network(0, "resnet14", 4)).groups)
    assert sizes == sorted([4, 4, 4, 8, 8, 8, 16, 16, 16])


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("name", ["resnet8", "resnet14", "vgg16", "lenet_300_100", "lowres_resnet50"])
def test_a_permuted_copy_is_found_out_and_its_barrier_vanishes(
    name: str, method: str, images: Images, network, weights_of
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
    method: str, images: Images, network, weights_of
) -> None:
    model = network(0)
    a, b = weights_of(network(1)), weights_of(network(2))
    before = weights_of(model)
    found = align(model, a, b, method=method, images=images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(outputs(model, found.weights, images), outputs(model, b, images), rtol=1e-4, atol=1e-4)
    if method == "weights":
        assert found.distance_after < found.distance_before


def test_one_hidden_layer_is_matched_as_well_as_by_trying_all_orders(images: Images) -> None:
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


def test_the_mask_moves_with_its_weights(images: Images, network, weights_of) -> None:
    model = network(0)
    a, b = weights_of(network(1)), weights_of(network(2))
    mask = {"blocks.0.conv1.weight": (b["blocks.0.conv1.weight"].abs() > 0.2).to(torch.uint8)}
    b = {name: tensor * mask[name] if name in mask else tensor for name, tensor in b.items()}
    found = align(model, a, b)
    moved = found.permute_mask(mask)["blocks.0.conv1.weight"]
    assert torch.equal(moved != 0, found.weights["blocks.0.conv1.weight"] != 0)
    assert not torch.equal(moved, mask["blocks.0.conv1.weight"])
    assert found.permute_mask(None) is None


def test_the_same_seed_gives_the_same_orders(network, weights_of) -> None:
    model = network(0)
    a, b = weights_of(network(1)), weights_of(network(2))
    first, again = (align(model, a, b, seed=5) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(first.orders, again.orders, strict=True))


class Concatenating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x), self.conv(x)], dim=1).mean((2, 3))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_networks_with_unknown_symmetries_are_refused_by_the_part() -> None:
    with pytest.raises(UserError, match=r"(?s)of cat .*Conv2d, Linear"):
        find_symmetries(Concatenating())
    with pytest.raises(UserError, match="Branching cannot be traced"):
        find_symmetries(Branching())
    with pytest.raises(UserError, match="2 groups"):
        find_symmetries(nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)))
    with pytest.raises(UserError, match="Linear on unflattened"):
        find_symmetries(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(8, 2)))


def test_mistakes_are_refused(images: Images, network, weights_of) -> None:
    model = network(0)
    a = weights_of(model)
    with pytest.raises(UnknownName, match="activations"):
        align(model, a, a, method="activation")
    with pytest.raises(UserError, match="without images"):
        align(model, a, a, method="activations")
    with pytest.raises(UserError, match=r"'fc\.bias' is \(5,\) in the network and \(1,\) in b"):
        align(model, a, {**a, "fc.bias": torch.zeros(1)})
