import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.engine import Engine
from ticketdiet.training.recipe import Recipe

SEEDS = RunSeeds.of(0, 0)


def steps_of_engine(model, images, recipe, mask=None, deferred=None, count=10):
    engine = Engine(model, recipe, mask, deferred=deferred)
    batches = ImageBatches(images, recipe, SEEDS)
    for step in range(count):
        _, loss = engine.forward(batches.batch(step))
        assert engine.update(loss, recipe.lr, step)
    return engine


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("deferred", [False, True])
def test_ten_updates_agree_with_torchs_sgd(images, make_model, nesterov, deferred):
    recipe = Recipe(
        steps=50, batch_size=8, lr=0.05, weight_decay=1e-2, nesterov=nesterov, precision="float32", label_smoothing=0.1
    )
    ours, theirs = make_model(), make_model()
    steps_of_engine(ours, images, recipe, deferred=deferred).release()
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=nesterov)
    batches = ImageBatches(images, recipe, SEEDS)
    for step in range(10):
        batch = batches.batch(step)
        optimiser.zero_grad()
        F.cross_entropy(theirs(batch.inputs), batch.labels, label_smoothing=0.1).backward()
        optimiser.step()
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_removed_weights_gradients_and_momenta_are_exactly_zero_after_every_update(images, make_model):
    model = make_model()
    mask = {"0.weight": (torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(1)) > 0.5).to(torch.uint8)}
    recipe = Recipe(steps=50, batch_size=8, lr=0.1, weight_decay=0.1, precision="float32")
    engine = Engine(model, recipe, mask)
    batches = ImageBatches(images, recipe, SEEDS)
    removed = mask["0.weight"] == 0
    for step in range(20):
        _, loss = engine.forward(batches.batch(step))
        engine.update(loss, 0.1, step)
        for tensor in (model[0].weight, model[0].weight.grad, engine.optimiser_state["momentum"]["0.weight"]):
            assert (tensor[removed] == 0).all()
    assert (model[0].weight[~removed] != 0).all()


def test_kept_weights_train_as_in_a_network_without_the_removed_ones(images, make_model):
    ours, theirs = make_model(), make_model()
    mask = {"5.weight": torch.ones(4, 24)}
    mask["5.weight"][:, ::3] = 0
    recipe = Recipe(steps=50, batch_size=8, lr=0.1, precision="float32")
    steps_of_engine(ours, images, recipe, mask).release()
    nn.utils.parametrize.register_parametrization(theirs[5], "weight", _Masked(mask["5.weight"]))
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    batches = ImageBatches(images, recipe, SEEDS)
    for step in range(10):
        batch = batches.batch(step)
        optimiser.zero_grad()
        F.cross_entropy(theirs(batch.inputs), batch.labels).backward()
        optimiser.step()
    torch.testing.assert_close(ours[5].weight, theirs[5].weight, rtol=1e-4, atol=1e-5)


class _Masked(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, weight):
        return weight * self.mask


def test_a_non_finite_loss_found_late_leaves_weights_and_buffers_as_before_it(images, make_model):
    model = make_model()
    recipe = Recipe(steps=50, batch_size=8, precision="float32")
    engine = steps_of_engine(model, images, recipe, deferred=True, count=3)
    before = copy.deepcopy(model.state_dict())
    batch = ImageBatches(images, recipe, SEEDS).batch(3)
    for step in (3, 4):
        _, loss = engine.forward(batch)
        engine.update(loss * float("nan"), 0.1, step)
    assert engine.first_bad_step() == 3
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[name]), name


def test_release_gives_the_module_ordinary_tensors(images, make_model):
    model = make_model()
    steps_of_engine(model, images, Recipe(steps=9, batch_size=8, precision="float32"), count=1).release()
    for parameter in model.parameters():
        assert parameter.is_contiguous()
        assert parameter.grad is None
        assert parameter.untyped_storage().nbytes() == parameter.numel() * 4


@pytest.mark.parametrize("mask", [{"nothing.weight": torch.ones(2)}, {"0.weight": torch.ones(2)}])
def test_a_mask_that_does_not_fit_is_refused_by_name(make_model, mask):
    with pytest.raises(UserError, match=next(iter(mask))):
        Engine(make_model(), Recipe(), mask)


def test_parameters_in_half_precision_are_refused(make_model):
    with pytest.raises(UserError, match=r"float\(\)"):
        Engine(make_model().half(), Recipe())
