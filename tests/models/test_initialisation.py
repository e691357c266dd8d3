"""Initial weights: their distribution, and that every tensor draws for itself."""

import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UnknownName
from ticketdiet.models.build import build_model
from ticketdiet.models.initialisation import initialise


def test_the_draw_of_a_tensor_depends_on_its_name_and_not_on_its_neighbours() -> None:
    alone, beside = nn.Sequential(), nn.Sequential()
    alone.add_module("last", nn.Linear(4, 3))
    beside.add_module("first", nn.Linear(9, 4))
    beside.add_module("last", nn.Linear(4, 3))
    for model in (alone, beside):
        initialise(model, "kaiming", seed=1)
    assert torch.equal(alone.state_dict()["last.weight"], beside.state_dict()["last.weight"])


def test_module_changes_nothing() -> None:
    layer = nn.Linear(4, 3)
    before = layer.weight.clone()
    initialise(layer, "module", seed=1)
    assert torch.equal(layer.weight, before)


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


def test_an_unknown_initialisation_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"kaiming.*paper"):
        build_model("resnet8", initialisation="xavier")
