"""Small networks and images for the tests of the landscape."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ticketdiet.core.values import Images
from ticketdiet.landscape.symmetries import Symmetries
from ticketdiet.models.build import build_model

Pair = tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]
MakeNetwork = Callable[..., nn.Module]
WeightsOf = Callable[[nn.Module], dict[str, Tensor]]


class Tiny(nn.Module):
    """A smooth convolutional network with BatchNorm and few parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.tanh(self.bn(self.conv(x))).mean((2, 3)))
        return logits


@pytest.fixture
def tiny() -> Tiny:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny().eval()


@pytest.fixture
def images() -> Images:
    """48 prepared random images, 3 x 8 x 8, of 5 classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(48, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 5, (48,), generator=generator)
    return Images(pixels, labels, tuple("abcde"))


def make_network(seed: int, name: str = "resnet8", width: int = 4) -> nn.Module:
    """A network whose BatchNorm statistics and parameters are all nontrivial."""
    model = build_model(name, num_classes=5, image_size=8, width=width, seed=seed, initialisation="paper")
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in model.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
        elif key.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif key.endswith("num_batches_tracked"):
            tensor.fill_(seed)
    return model.eval()


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def network() -> MakeNetwork:
    """Makes a network from a seed, and optionally a name and a width."""
    return make_network


@pytest.fixture
def weights_of() -> WeightsOf:
    """Copies a network's weights."""
    return copy_weights


@pytest.fixture
def pair() -> Pair:
    """A module and two different weights for it."""
    return make_network(0), copy_weights(make_network(1)), copy_weights(make_network(2))


def random_orders(symmetries: Symmetries, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.permutation(group.size) for group in symmetries.groups)


def outputs(model: nn.Module, weights: Mapping[str, Tensor], images: Images) -> Tensor:
    """Logits of a network with these weights in eval mode."""
    model.load_state_dict(dict(weights))
    with torch.no_grad():
        logits: Tensor = model.eval()(images.pixels)
    return logits
