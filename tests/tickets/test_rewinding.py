import copy

import pytest
import torch

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.tickets.masks import dense_mask
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (32, 3, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(32) % 4, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)


def trained_away_from(model, images):
    return train(model, images, Recipe(steps=5, batch_size=16, precision="float32"), seeds=RunSeeds.of(0, 0)).weights


def test_rewinding_restores_weights_and_batch_norm_buffers_to_the_bit(make_model, images):
    model = make_model()
    point = copy.deepcopy(model.state_dict())
    after = trained_away_from(model, images)
    changed = [name for name in point if not torch.equal(point[name], after[name])]
    assert {"0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked"} <= set(changed)
    rewind(model, point)
    assert all(torch.equal(value, point[name]) for name, value in model.state_dict().items())


def test_rewinding_under_a_mask_zeroes_what_was_removed_and_leaves_the_point_alone(make_model):
    model = make_model()
    point = copy.deepcopy(model.state_dict())
    mask = prune(point, dense_mask(model), 0.5)
    rewound = rewind(model, point, mask).state_dict()
    for name, kept in mask.items():
        assert torch.equal(rewound[name], point[name] * kept)
    assert torch.equal(point["0.weight"], make_model().state_dict()["0.weight"])
    assert torch.equal(rewound["5.bias"], point["5.bias"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("1.running_mean"), r"'1\.running_mean' is \(2,\) in the network and nothing"),
        (lambda weights: weights.update(extra=torch.ones(1)), r"'extra' is nothing in the network and \(1,\)"),
        (lambda weights: weights.update({"5.bias": torch.ones(5)}), r"'5\.bias' is \(4,\) in the network and \(5,\)"),
    ],
)
def test_weights_of_another_network_are_refused_by_name_and_nothing_is_loaded(make_model, change, message):
    model = make_model(1)
    weights = dict(make_model(2).state_dict())
    change(weights)
    with pytest.raises(UserError, match=message):
        rewind(model, weights)
    assert torch.equal(model.state_dict()["0.weight"], make_model(1).state_dict()["0.weight"])


def test_a_mask_of_another_network_is_refused(make_model):
    with pytest.raises(UserError, match="matches no weight"):
        rewind(make_model(), make_model().state_dict(), {"7.weight": torch.ones(2)})
