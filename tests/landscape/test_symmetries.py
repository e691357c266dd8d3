"""Permuted networks compute the same function, and unknown parts are refused."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images
from ticketdiet.landscape.symmetries import find_symmetries

from .conftest import MakeNetwork, WeightsOf, outputs, random_orders

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


@pytest.fixture
def own() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Own().eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_order_of_the_groups_leaves_the_function_as_it_is(
    name: str, images: Images, network: MakeNetwork, weights_of: WeightsOf
) -> None:
    model = network(1, name, 6)
    weights = weights_of(model)
    symmetries = find_symmetries(model)
    permuted = symmetries.permute(weights, random_orders(symmetries, 0))
    torch.testing.assert_close(outputs(model, permuted, images), outputs(model, weights, images), rtol=1e-4, atol=1e-4)
    last = "fc.weight" if "fc.weight" in weights else "fc3.weight"
    assert not torch.equal(permuted[last], weights[last])


def test_any_order_of_a_users_own_network_leaves_its_function_as_it_is(
    own: nn.Module, images: Images, weights_of: WeightsOf
) -> None:
    weights = weights_of(own)
    symmetries = find_symmetries(own)
    permuted = symmetries.permute(weights, random_orders(symmetries, 1))
    torch.testing.assert_close(outputs(own, permuted, images), outputs(own, weights, images))
    assert [(group.size, len(group.axes)) for group in symmetries.groups] == [(6, 12), (7, 3)]


def test_residual_additions_tie_orders_and_inner_layers_are_free(network: MakeNetwork) -> None:
    sizes = sorted(group.size for group in find_symmetries(network(0, "resnet14", 4)).groups)
    assert sizes == sorted([4, 4, 4, 8, 8, 8, 16, 16, 16])


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
