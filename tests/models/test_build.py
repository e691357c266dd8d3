"""Sizes against published counts; randomness is a function of the seed alone."""

import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.models.build import build_model, find_model, model_names


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


def test_lenet_has_266_610_parameters_on_mnist() -> None:
    assert count(build_model("lenet_300_100", in_channels=1, image_size=28)) == 266_610


def test_resnet20_has_270_896_prunable_weights() -> None:
    assert prunable(build_model("resnet20")) == 270_896


@pytest.mark.parametrize("depth", [8, 14, 32, 44])
def test_a_cifar_resnet_counts_its_depth_in_layers(depth: int) -> None:
    model = build_model(f"resnet{depth}", width=2)
    convolutions = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules())
    assert convolutions + 1 == depth


@pytest.mark.parametrize("name", ["resnet8", "vgg16", "lenet_300_100", "lowres_resnet18", "lowres_resnet50"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (3, 28)])
def test_every_model_takes_small_images(name: str, channels: int, size: int) -> None:
    model = build_model(name, num_classes=7, in_channels=channels, image_size=size, width=4)
    assert model(torch.rand(2, channels, size, size)).shape == (2, 7)


def test_the_width_is_that_of_the_first_stage() -> None:
    shapes = {name: tuple(p.shape) for name, p in build_model("resnet8", width=5).named_parameters()}
    assert shapes["conv.weight"] == (5, 3, 3, 3)
    assert shapes["fc.weight"] == (10, 20)


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


def test_kaiming_weights_have_the_variance_of_two_over_fan_in() -> None:
    for module in build_model("resnet20").modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.weight.numel() > 4000:
            fan_in = module.weight[0].numel()
            assert float(module.weight.detach().var()) * fan_in / 2 == pytest.approx(1, abs=0.1)
            assert module.bias is None or not module.bias.any()


def test_paper_draws_gamma_between_zero_and_one_and_the_same_convolutions() -> None:
    plain, paper = build_model("resnet20"), build_model("resnet20", initialisation="paper")
    gammas = torch.cat([m.weight.detach() for m in paper.modules() if isinstance(m, nn.BatchNorm2d)])
    assert 0 <= gammas.min() < 0.05
    assert 0.95 < gammas.max() < 1
    assert float(gammas.mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(plain.state_dict()["conv.weight"], paper.state_dict()["conv.weight"])
    assert all(float(m.weight.detach().min()) == 1 for m in plain.modules() if isinstance(m, nn.BatchNorm2d))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"(?s)vgg61.*lenet_300_100.*resnetN.*did you mean 'vgg16'"):
        build_model("vgg61")


def test_resnet18_points_to_its_low_resolution_form_and_resnet21_to_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="lowres_resnet18"):
        build_model("resnet18")
    with pytest.raises(UnknownName, match=r"resnet20.*resnet26"):
        build_model("resnet21")


def test_resnet50_is_the_cifar_network_of_fifty_layers() -> None:
    assert find_model("resnet50")(width=2).blocks[-1].conv1.weight.shape == (8, 8, 3, 3)


@pytest.mark.parametrize("key", ["num_classes", "in_channels", "image_size", "width"])
def test_sizes_below_one_are_refused_by_name(key: str) -> None:
    with pytest.raises(UserError, match=f"{key}=0"):
        build_model("resnet8", **{key: 0})


def test_an_unknown_initialisation_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"kaiming.*paper"):
        build_model("resnet8", initialisation="xavier")


def test_the_list_of_names_is_what_can_be_built() -> None:
    assert {"vgg16", "lenet_300_100", "lowres_resnet18", "lowres_resnet50"} <= set(model_names())
