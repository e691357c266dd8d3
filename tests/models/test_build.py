"""Sizes against published counts; randomness is a function of the seed alone."""

from typing import Any

import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.models.build import build_model, model_names


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def prunable(model: nn.Module) -> int:
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20", 272_474),
        ("resnet56", 855_770),
        ("vgg16", 14_724_042),
        ("lowres_resnet18", 11_173_962),
        ("lowres_resnet50", 23_520_842),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, parameters: int) -> None:
    assert count(build_model(name, initialisation="module")) == parameters


@pytest.mark.parametrize("name", ["resnet8", "vgg16", "lenet_300_100", "lowres_resnet18", "lowres_resnet50"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (3, 28)])
def test_every_model_takes_small_images(name: str, channels: int, size: int) -> None:
    model = build_model(name, num_classes=7, in_channels=channels, image_size=size, width=4)
    assert model(torch.rand(2, channels, size, size)).shape == (2, 7)


def test_forward_leaves_its_input_as_it_was() -> None:
    images = torch.randn(4, 3, 8, 8)
    before = images.clone()
    for name in ("resnet8", "vgg16", "lenet_300_100", "lowres_resnet50"):
        build_model(name, image_size=8, width=4)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("initialisation", ["kaiming", "paper", "module"])
def test_equal_seeds_give_equal_weights_and_others_others(initialisation: str) -> None:
    first, again, other = (build_model("resnet8", initialisation=initialisation, seed=s) for s in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("initialisation", ["kaiming", "paper", "module"])
def test_the_global_generator_neither_moves_nor_matters(initialisation: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_model("resnet8", initialisation=initialisation)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(first, build_model("resnet8", initialisation=initialisation))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"(?s)vgg61.*lenet_300_100.*resnetN.*did you mean 'vgg16'"):
        build_model("vgg61")


def test_resnet18_points_to_its_low_resolution_form_and_resnet21_to_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="lowres_resnet18"):
        build_model("resnet18")
    with pytest.raises(UnknownName, match=r"resnet20.*resnet26"):
        build_model("resnet21")


@pytest.mark.parametrize("key", ["num_classes", "in_channels", "image_size", "width"])
def test_sizes_below_one_are_refused_by_name(key: str) -> None:
    sizes: dict[str, Any] = {key: 0}
    with pytest.raises(UserError, match=f"{key}=0"):
        build_model("resnet8", **sizes)


def test_the_list_of_names_is_what_can_be_built() -> None:
    assert {"vgg16", "lenet_300_100", "lowres_resnet18", "lowres_resnet50"} <= set(model_names())
