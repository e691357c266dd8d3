"""Residual networks: their depth, their width and the number of prunable weights."""

import pytest
import torch
from torch import nn

from ticketdiet.models.build import build_model, find_model
from ticketdiet.models.resnet import BasicBlock, Bottleneck, is_cifar_depth


def prunable(model: nn.Module) -> int:
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def test_only_depths_of_six_n_plus_two_exist() -> None:
    assert [depth for depth in range(40) if is_cifar_depth(depth)] == [8, 14, 20, 26, 32, 38]
    assert is_cifar_depth(1202)
    assert not is_cifar_depth(1208)


@pytest.mark.parametrize(("block", "outputs"), [(BasicBlock, 6), (Bottleneck, 24)])
def test_a_block_halves_the_image_only_where_it_strides(block: type[BasicBlock | Bottleneck], outputs: int) -> None:
    assert block(outputs, 6, 1).shortcut is None
    images = torch.rand(2, outputs, 8, 8)
    assert block(outputs, 6, 1)(images).shape == (2, outputs, 8, 8)
    assert block(outputs, 6, 2)(images).shape == (2, outputs, 4, 4)


def test_resnet20_has_270_896_prunable_weights() -> None:
    assert prunable(build_model("resnet20")) == 270_896


@pytest.mark.parametrize("depth", [8, 14, 32, 44])
def test_a_cifar_resnet_counts_its_depth_in_layers(depth: int) -> None:
    model = build_model(f"resnet{depth}", width=2)
    convolutions = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules())
    assert convolutions + 1 == depth


def test_the_width_is_that_of_the_first_stage() -> None:
    shapes = {name: tuple(p.shape) for name, p in build_model("resnet8", width=5).named_parameters()}
    assert shapes["conv.weight"] == (5, 3, 3, 3)
    assert shapes["fc.weight"] == (10, 20)


def test_resnet50_is_the_cifar_network_of_fifty_layers() -> None:
    shapes = {name: tuple(p.shape) for name, p in find_model("resnet50")(width=2).named_parameters()}
    assert [shape for name, shape in shapes.items() if name.endswith(".conv1.weight")][-1] == (8, 8, 3, 3)
