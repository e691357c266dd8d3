"""FLOPs against hand counts and against torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ticketdiet.models.build import build_model
from ticketdiet.tickets.masks import dense_mask, layer_densities
from ticketdiet.tickets.pruning import prune
from ticketdiet.training.cost import forward_flops, kept_flops, layer_flops


def test_resnet20_has_the_multiply_adds_of_a_hand_count():
    stem = 3 * 16 * 9 * 32 * 32
    stages = [6 * 16 * 16 * 9 * 32**2]
    for before, width, side in ((16, 32, 16), (32, 64, 8)):
        stages.append((before * width * 9 + 5 * width * width * 9 + before * width) * side**2)
    multiply_adds = stem + sum(stages) + 64 * 10
    assert forward_flops(build_model("resnet20"), (3, 32, 32)) == 2 * multiply_adds
    assert multiply_adds == pytest.approx(41e6, rel=0.01)


@pytest.mark.parametrize("name", ["resnet8", "vgg16", "lenet_300_100", "lowres_resnet18"])
def test_the_count_is_that_of_torch(name):
    model = build_model(name, in_channels=3, image_size=32).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert forward_flops(model, (3, 32, 32)) == counter.get_total_flops()


def test_kept_weights_take_a_multiply_add_at_every_position(small_network):
    model = small_network(width=4)
    mask = prune(dict(model.named_parameters()), dense_mask(model), fraction=0.6)
    layers = layer_flops(model, (3, 5, 5))
    assert list(layers) == list(mask) == ["0.weight", "5.weight"]
    by_hand = 2 * (int(mask["0.weight"].sum()) * 25 + int(mask["5.weight"].sum()))
    assert kept_flops(layers, layer_densities(mask)) == by_hand
    assert kept_flops(layers, {}) == sum(layers.values()) == forward_flops(model, (3, 5, 5))


def test_a_weight_that_two_layers_share_is_counted_at_both_under_its_first_name():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, inputs):
            return self.second(self.first(inputs.flatten(1)))

    assert layer_flops(Shared(), (6,)) == {"first.weight": 2 * 2 * 36}


def test_a_layer_that_is_not_used_takes_nothing():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(6, 2), nn.Linear(6, 2)

        def forward(self, inputs):
            return self.used(inputs.flatten(1))

    assert layer_flops(Unused(), (6,)) == {"used.weight": 24, "spare.weight": 0}
