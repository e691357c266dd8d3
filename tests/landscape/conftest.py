"""Small networks and images for the tests of the landscape."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model


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
def network() -> Callable[..., nn.Module]:
    """Makes a network from a seed, and optionally a name and a width."""
    return make_network


@pytest.fixture
def weights_of() -> Callable[[nn.Module], dict[str, Tensor]]:
    """Copies a network's weights."""
    return copy_weights


@pytest.fixture
def pair() -> tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]:
    """A module and two different weights for it."""
    return make_network(0), copy_weights(make_network(1)), copy_weights(make_network(2))
