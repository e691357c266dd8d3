"""Layers by the sparse kernels beside the same layers by torch, through autograd."""

import copy

import pytest
import torch
from torch import nn

from ticketdiet.kernels.layers import SparseLayer, why_not_sparse


def gradients(forward, layer, inputs):
    layer.zero_grad()
    inputs = inputs.clone().requires_grad_()
    outputs = forward(inputs)
    outputs.square().sum().backward()
    return outputs.detach(), inputs.grad, *(parameter.grad.clone() for parameter in layer.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda bias: nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=bias), (21, 3, 11, 8)),
        (lambda bias: nn.Conv2d(3, 5, (1, 5), padding=(0, 2), bias=bias), (16, 3, 6, 9)),
        (lambda bias: nn.Linear(7, 4, bias=bias), (19, 7)),
        (lambda bias: nn.Linear(7, 4, bias=bias), (2, 3, 7)),
        (lambda bias: nn.Linear(7, 4, bias=bias), (7,)),
    ],
)
def test_outputs_and_gradients_are_those_of_the_layer(calls, make_mask, make, shape, bias):
    layer = make(bias)
    mask = make_mask(layer.weight.shape, 0.4)
    layer.weight.data *= mask
    sparse = SparseLayer(layer, mask, calls)
    inputs = torch.randn(shape)
    found, expected = gradients(sparse, layer, inputs), gradients(layer, layer, inputs)
    for ours, theirs in zip(found[:2] + found[3:], expected[:2] + expected[3:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], expected[2] * mask, rtol=1e-4, atol=1e-4)


def test_a_layer_used_twice_in_one_pass_has_the_sum_of_both_gradients(calls, make_mask):
    layer = nn.Conv2d(3, 3, 3, padding=1)
    mask = make_mask(layer.weight.shape, 0.5)
    layer.weight.data *= mask
    sparse, inputs = SparseLayer(layer, mask, calls), torch.randn(17, 3, 6, 6)
    found = gradients(lambda x: sparse(torch.relu(sparse(x))), layer, inputs)
    expected = gradients(lambda x: layer(torch.relu(layer(x))), layer, inputs)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], expected[2] * mask, rtol=1e-3, atol=1e-3)


def test_inputs_of_any_strides_are_read_as_they_are(calls, make_mask):
    layer = nn.Conv2d(3, 5, 3, padding=1)
    mask = make_mask(layer.weight.shape, 0.5)
    layer.weight.data *= mask
    inputs = torch.randn(9, 7, 20, 6)[:, ::2][:, :3].permute(2, 1, 0, 3)
    sparse = SparseLayer(layer, mask, calls)
    torch.testing.assert_close(sparse(inputs), layer(inputs), rtol=1e-4, atol=1e-5)
    last = inputs.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(sparse(last), layer(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "groups"),
        (nn.Conv2d(4, 4, 3, dilation=2), "dilation"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "padding mode circular"),
        (nn.Conv2d(4, 4, 3, padding="same"), "padding in words"),
        (nn.Conv1d(4, 4, 3), "neither Conv2d nor Linear"),
        (nn.Conv2d(4, 4, 3, stride=2), ""),
        (nn.Linear(4, 4), ""),
    ],
)
def test_a_layer_that_the_kernels_cannot_do_has_a_reason(layer, reason):
    assert why_not_sparse(layer) == reason


@pytest.mark.parametrize("shape", [(2, 4, 9, 9), (2, 3, 1, 1), (3, 9, 9), (0, 3, 9, 9)])
def test_inputs_that_do_not_suit_are_left_to_the_layer(calls, make_mask, shape):
    layer = nn.Conv2d(3, 5, 3)
    assert not SparseLayer(layer, make_mask(layer.weight.shape, 0.5), calls).takes(torch.zeros(shape))


def test_half_precision_inputs_are_left_to_the_layer(calls, make_mask):
    layer = nn.Linear(3, 5)
    sparse = SparseLayer(layer, make_mask(layer.weight.shape, 0.5), calls)
    assert sparse.takes(torch.zeros(2, 3))
    assert not sparse.takes(torch.zeros(2, 3, dtype=torch.bfloat16))
    assert copy.deepcopy(layer).weight.shape == (5, 3)
