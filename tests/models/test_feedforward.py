"""VGG-16 and LeNet-300-100: their layers, and images of any size."""

import pytest
import torch
from torch import nn

from ticketdiet.models.build import build_model
from ticketdiet.models.feedforward import VGG, LeNet300100


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("size", "pools"), [(32, 4), (16, 4), (8, 3), (4, 2), (1, 0)])
def test_vgg16_has_thirteen_convolutions_and_pools_while_it_can(size: int, pools: int) -> None:
    model = VGG(image_size=size, width=4)
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.MaxPool2d)) == (13, pools)
    assert model(torch.rand(2, 3, size, size)).shape == (2, 10)


def test_the_second_hidden_layer_of_lenet_has_a_third_of_the_first() -> None:
    assert LeNet300100(width=30).fc2.weight.shape == (10, 30)
    assert LeNet300100(width=1).fc2.weight.shape == (1, 1)


def test_lenet_has_266_610_parameters_on_mnist() -> None:
    assert count(build_model("lenet_300_100", in_channels=1, image_size=28)) == 266_610
