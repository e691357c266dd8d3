import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.models.build import build_model
from ticketdiet.tickets.channels import channel_sets
from ticketdiet.tickets.compact import compact
from ticketdiet.tickets.criteria import prunable_shapes, random_mask
from ticketdiet.tickets.masks import apply_mask, count_kept, dense_mask

NETWORKS: dict[str, Any] = {
    "resnet8": {"width": 4, "image_size": 8},
    "resnet14": {"width": 3, "image_size": 7},
    "vgg16": {"width": 2, "image_size": 8},
    "lenet_300_100": {"width": 12, "image_size": 4},
    "lowres_resnet18": {"width": 2, "image_size": 8},
    "lowres_resnet50": {"width": 1, "image_size": 8},
}


def make(name, seed=0, dtype=torch.float64):
    """A network whose BatchNorms have statistics of a wild training: gammas of 0, betas of both signs."""
    model = build_model(name, num_classes=3, in_channels=2, seed=seed, **NETWORKS[name]).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                shape = module.weight.shape
                module.weight.copy_(torch.randn(shape, generator=generator))
                module.weight[torch.rand(shape, generator=generator) < 0.2] = 0
                module.bias.copy_(torch.randn(shape, generator=generator) - 0.3)
                module.running_mean.copy_(torch.randn(shape, generator=generator))
                module.running_var.copy_(torch.rand(shape, generator=generator) + 0.1)
            if isinstance(module, nn.Linear):
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return model


def masked(model, mask):
    twin = copy.deepcopy(model)
    twin.load_state_dict(apply_mask(model.state_dict(), mask))
    return twin


def inputs(name, dtype=torch.float64, seed=0):
    size = NETWORKS[name]["image_size"]
    return torch.randn(3, 2, size, size, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(NETWORKS)),
    st.sampled_from([0.5, 0.2, 0.1, 0.05, 0.02, 0.01]),
    st.sampled_from([torch.float64, torch.float32]),
    st.integers(0, 2**20),
)
def test_a_compacted_network_computes_what_the_masked_one_does(name, density, dtype, seed):
    model = make(name, seed, dtype)
    mask = random_mask(prunable_shapes(model), density, seed)
    found = compact(model, mask)
    with torch.no_grad():
        expected, got = masked(model, mask)(inputs(name, dtype)), found.module(inputs(name, dtype))
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    assert size(found.module) <= size(model)
    assert found.num_parameters == size(found.module)
    assert all(after < before for before, after in found.channels.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dense_network_whose_channels_all_matter_stays_as_it_is(name):
    model = build_model(name, num_classes=3, in_channels=2, **NETWORKS[name]).eval()
    found = compact(model)
    assert found.channels == {}
    assert found.mask.keys() == dense_mask(model).keys()
    before, after = model.state_dict(), found.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", NETWORKS)
def test_compacting_twice_changes_nothing_more_and_the_original_is_left_alone(name):
    model = make(name, 3)
    before = copy.deepcopy(model.state_dict())
    found = compact(model, random_mask(prunable_shapes(model), 0.05, 1))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert size(found.module) < size(model)
    assert compact(found.module, found.mask).channels == {}
    assert not found.module.training


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_can_be_trained_and_has_the_mask_of_its_weights(name):
    model = make(name, 2, torch.float32)
    found = compact(model, random_mask(prunable_shapes(model), 0.1, 1))
    weights = dict(found.module.named_parameters())
    assert all(torch.equal(weights[key] != 0, kept == 1) for key, kept in found.mask.items())
    found.module.train()(inputs(name, torch.float32)).sum().backward()
    assert all(weight.grad is not None for weight in weights.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_without_weights_keeps_one_channel_of_each_set_and_its_constant_output(name):
    model = make(name, 4)
    nothing = {key: torch.zeros_like(kept) for key, kept in dense_mask(model).items()}
    found = compact(model, nothing)
    shapes = found.module.state_dict()
    for channels in channel_sets(model):
        assert {len(shapes[f"{layer.name}.weight"]) for layer in channels.writers} == {1}
    with torch.no_grad():
        torch.testing.assert_close(found.module(inputs(name)), masked(model, nothing)(inputs(name)))
    assert count_kept(found.mask) == 0


def test_the_constant_of_a_unit_without_inputs_moves_into_the_next_bias():
    model = build_model("lenet_300_100", num_classes=2, in_channels=1, image_size=2, width=6).eval()
    with torch.no_grad():
        model.get_parameter("fc1.weight")[1:3] = 0
        model.get_parameter("fc1.bias")[1:3] = torch.tensor([0.5, -0.5])
    expected = model.get_parameter("fc2.bias") + 0.5 * model.get_parameter("fc2.weight")[:, 1]
    found = compact(model)
    assert found.channels == {"fc1": (6, 4)}
    torch.testing.assert_close(found.module.get_parameter("fc2.bias"), expected)


def test_constant_channels_that_a_padded_convolution_reads_become_one_that_is_exact_at_the_border():
    model = build_model("vgg16", num_classes=2, in_channels=1, image_size=4, width=4).to(torch.float64).eval()
    with torch.no_grad():
        model.get_parameter("features.1.weight").copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        model.get_parameter("features.1.bias").copy_(torch.tensor([0.0, 2.0, 0.5, -1.0]))
    found = compact(model)
    assert found.channels == {"features.0": (4, 2)}  # the live one, and the carrier of what 2.0 and 0.5 gave
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        before, after = images, images
        for place in range(5):  # to the end of the second convolution with its BatchNorm and ReLU
            before = model.get_submodule(f"features.{place}")(before)
            after = found.module.get_submodule(f"features.{place}")(after)
        torch.testing.assert_close(after, before)


def test_the_channels_of_a_residual_sum_go_only_when_every_part_of_the_sum_is_dead():
    model = build_model("resnet14", num_classes=2, in_channels=1, image_size=4, width=4).eval()

    def kill(*norms):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for norm in norms:
                twin.get_parameter(f"{norm}.weight")[2] = 0
                twin.get_parameter(f"{norm}.bias")[2] = -0.1
        return compact(twin)

    assert "conv" not in kill("bn", "blocks.0.bn2").channels  # the second block still writes channel 2
    found = kill("bn", "blocks.0.bn2", "blocks.1.bn2")
    assert {found.channels[name] for name in ("conv", "blocks.0.conv2", "blocks.1.conv2")} == {(4, 3)}
    assert found.module.get_submodule("blocks.2.shortcut.0").in_channels == 3


def test_an_unknown_network_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"channels of a Sequential are not known[\s\S]*resnetN"):
        compact(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))


def test_a_mask_of_other_shapes_is_refused():
    model = make("lenet_300_100")
    with pytest.raises(UserError, match="has shape"):
        compact(model, {"fc1.weight": torch.ones(2, 2, dtype=torch.uint8)})
