import copy

import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.training.distributed import ALONE, Ranks
from ticketdiet.training.joint_batch_norm import JointBatchNorm
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe

SHAPES = {nn.BatchNorm1d: (12, 5), nn.BatchNorm2d: (12, 5, 4, 3), nn.BatchNorm3d: (12, 5, 2, 3, 2)}


def drawn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def with_parameters(layer):
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(drawn(parameter.shape, 10 + number))
    return layer


@pytest.mark.parametrize("ghost", [4, 6, 12])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize("kind", SHAPES)
def test_each_ghost_batch_is_normalised_as_torch_normalises_a_batch(kind, options, ghost):
    ours = with_parameters(kind(5, **options))
    theirs = [copy.deepcopy(ours) for _ in range(12 // ghost)]
    inputs, weights = drawn(SHAPES[kind], 1).requires_grad_(), drawn(SHAPES[kind], 2)
    with JointBatchNorm(ours, ALONE, ghost)(12):
        found = ours(inputs)
    own = torch.autograd.grad((found * weights).sum(), [inputs, *ours.parameters()])
    again = inputs.detach().requires_grad_()
    parts = [layer(part) for layer, part in zip(theirs, again.split(ghost), strict=True)]
    wanted = torch.cat(parts)
    gradients = torch.autograd.grad((wanted * weights).sum(), [again, *[p for one in theirs for p in one.parameters()]])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own[0], gradients[0], rtol=1e-4, atol=1e-5)
    for number, gradient in enumerate(own[1:]):
        torch.testing.assert_close(gradient, sum(gradients[1 + number :: len(own) - 1]), rtol=1e-4, atol=1e-4)
    for name, buffer in ours.named_buffers():
        mean = torch.stack([dict(one.named_buffers())[name].float() for one in theirs]).mean(0)
        torch.testing.assert_close(buffer.float(), mean, rtol=1e-5, atol=1e-6)


def test_without_ghosts_and_alone_the_layers_are_left_to_torch():
    layer = nn.BatchNorm2d(3)
    norms = JointBatchNorm(layer, ALONE, None)
    assert norms.why_not_fused == ""
    with norms(12):
        assert "forward" not in layer.__dict__


def test_layers_in_eval_mode_and_those_outside_of_the_block_are_left_to_torch():
    layer, inputs = with_parameters(nn.BatchNorm1d(5)), drawn((12, 5), 3)
    plain = copy.deepcopy(layer)
    norms = JointBatchNorm(layer, ALONE, 4)
    layer.eval(), plain.eval()
    with norms(12):
        assert torch.equal(layer(inputs), plain(inputs))
    layer.train(), plain.train()
    assert torch.equal(layer(inputs), plain(inputs))


def test_a_layer_keeps_a_forward_of_its_own():
    layer = nn.BatchNorm1d(5)
    own = layer.__dict__["forward"] = lambda inputs: inputs
    with JointBatchNorm(layer, ALONE, 4)(12):
        pass
    assert layer.__dict__["forward"] is own


def test_memory_layout_and_precision_of_the_input_are_kept():
    layer = nn.BatchNorm2d(5)
    inputs = drawn((12, 5, 4, 3), 1).to(torch.bfloat16, memory_format=torch.channels_last)
    with JointBatchNorm(layer, ALONE, 6)(12):
        outputs = layer(inputs)
    assert outputs.dtype == torch.bfloat16
    assert outputs.is_contiguous(memory_format=torch.channels_last)


def test_ghosts_that_do_not_divide_a_slice_are_refused():
    norms = JointBatchNorm(nn.BatchNorm1d(5), Ranks(0, 4), 8)
    norms(16)
    with pytest.raises(UserError, match="Ghost batches of 8 examples do not divide the 12 examples of a device"):
        norms(12)


def test_the_key_is_in_the_identity_only_where_it_is_given():
    assert "ghost_batch_size" not in Recipe().identity()
    assert Recipe(batch_size=64, ghost_batch_size=32).identity()["ghost_batch_size"] == 32
    with pytest.raises(ValueError, match="ghost_batch_size 48 does not divide batch_size 64; give a divisor"):
        Recipe(batch_size=64, ghost_batch_size=48)


def test_a_training_says_that_its_kernels_are_the_stock_ones_because_of_ghosts(images, make_model):
    recipe = Recipe(steps=2, batch_size=8, ghost_batch_size=4, crop_padding=1)
    mask = {"0.weight": torch.ones(6, 3, 3, 3)}
    assert train(make_model(), images, recipe, seeds=RunSeeds.of(0, 0), mask=mask).kernels == "stock: ghost batches"
