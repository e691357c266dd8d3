"""Convolutions by lists, beside torch's dense convolution in float64 under the same mask."""

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ticketdiet.kernels import kept
from ticketdiet.kernels.blocks import LANES, Blocks, Lists, Refused
from ticketdiet.kernels.calls import Calls, Step
from ticketdiet.kernels.compiled import threads_of_torch
from ticketdiet.kernels.geometry import Geometry
from ticketdiet.kernels.kept import Kept, Layout
from ticketdiet.kernels.plans import Plan

CASES = st.fixed_dictionaries(
    {
        "images": st.integers(1, 35),
        "ins": st.integers(1, 5),
        "outs": st.integers(1, 6),
        "sides": st.tuples(st.integers(5, 19), st.integers(5, 19)),
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 5)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.tuples(st.integers(0, 3), st.integers(0, 2)),
        "density": st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0]),
        "channels_last": st.booleans(),
        "wider": st.integers(0, 1),
    }
)


def zeros(shape, pad):
    images, channels, height, width = shape
    return Blocks.zeros(images, channels, height, width, pad)


class Convolved:
    """Output and gradients of one case, by the kernels and by torch in float64."""

    def __init__(self, library, case, threads=1, empty_rows=False):
        generator = torch.Generator().manual_seed(case["images"] * 7 + case["outs"])
        images, calls = case["images"], Calls(library, threads)
        geometry = Geometry(case["kernel"], case["stride"], case["padding"])
        sides = geometry.out_sides(*case["sides"])
        shape = (case["outs"], case["ins"], *case["kernel"])
        self.mask = (torch.rand(shape, generator=generator) < case["density"]).to(torch.uint8)
        if empty_rows:
            self.mask[::2] = 0
        weight = torch.randn(shape, generator=generator) * self.mask
        weight = weight.to(memory_format=torch.channels_last) if case["channels_last"] else weight
        inputs = torch.randn(images, case["ins"], *case["sides"], generator=generator)
        gradient = torch.randn(images, case["outs"], *sides, generator=generator)
        bias = torch.randn(case["outs"], generator=generator)

        source = zeros((images, case["ins"], *case["sides"]), geometry.pad + case["wider"])
        over = zeros((images, case["outs"], *sides), geometry.gradient_pad(*case["sides"]) + case["wider"])
        self.out, into = Blocks.zeros(*gradient.shape), Blocks.zeros(*inputs.shape)
        self.plan = Plan(self.mask, geometry, weight.stride(), source, over)
        calls.enter(inputs, source)
        calls.enter(gradient, over)
        self.plan.forward(calls, weight, source, self.out, bias=bias)
        self.plan.input_gradient(calls, weight, over, into)
        self.found = {
            "output": leave(calls, self.out),
            "input": leave(calls, into),
            "weight": self.plan.weight_gradient(calls, over, source, weight),
        }

        inputs, weight = inputs.double().requires_grad_(), weight.double().requires_grad_()
        output = F.conv2d(inputs, weight, bias.double(), stride=case["stride"], padding=case["padding"])
        output.backward(gradient.double())
        assert inputs.grad is not None
        self.expected = {"output": output.detach(), "input": inputs.grad, "weight": weight.grad * self.mask}


def leave(calls, blocks):
    images = torch.full(blocks.shape, torch.nan)
    calls.leave(blocks, images)
    return images


@settings(max_examples=60)
@given(CASES)
def test_output_and_both_gradients_are_those_of_the_dense_convolution_under_the_mask(library, case):
    convolved = Convolved(library, case)
    for name, expected in convolved.expected.items():
        torch.testing.assert_close(convolved.found[name].double(), expected, rtol=1e-5, atol=1e-4, msg=name)
    assert (convolved.found["weight"][convolved.mask == 0] == 0).all()


PLAIN = {"images": 33, "ins": 4, "outs": 6, "sides": (17, 33), "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)}
PLAIN |= {"density": 0.4, "channels_last": True, "wider": 0}


def test_output_channels_without_any_weight_hold_their_bias_alone(library):
    convolved = Convolved(library, PLAIN, empty_rows=True)
    for name, expected in convolved.expected.items():
        torch.testing.assert_close(convolved.found[name].double(), expected, rtol=1e-5, atol=1e-4, msg=name)


@settings(max_examples=20)
@given(CASES, st.integers(1, 3))
def test_lists_in_parts_give_the_bits_of_whole_lists(library, case, channels):
    whole = Convolved(library, case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "CHANNELS", channels)
        patch.setattr(kept, "ENTRIES", 1)
        in_parts = Convolved(library, case)
    assert all(torch.equal(in_parts.found[name], value) for name, value in whole.found.items())


def test_long_lists_of_many_channels_are_in_parts(library):
    parts = {density: list_of(PLAIN | {"ins": 24, "density": density}).parts for density in (0.02, 0.15, 1.0)}
    assert parts == {0.02: 1, 0.15: 2, 1.0: 2}
    assert list_of(PLAIN | {"ins": 12, "density": 1.0}).parts == 1


def list_of(case):
    mask = torch.rand(6, case["ins"], 3, 3, generator=torch.Generator().manual_seed(0)) < case["density"]
    geometry = Geometry(case["kernel"], case["stride"], case["padding"])
    return Kept(mask, geometry, mask.stride()).forward(Layout(1000, 100))


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("images", [16, 33, 640])
@pytest.mark.parametrize("whose", ["torch's threads", "the kernels' own threads"])
def test_one_two_and_five_threads_give_the_same_bits(library, stride, images, whose):
    case = PLAIN | {"stride": stride, "images": images, "sides": (9, 12)}
    if whose == "the kernels' own threads":
        library.td_use_threads(ctypes.c_void_p(None), ctypes.c_void_p(None))
    try:
        one, *others = (Convolved(library, case, threads) for threads in (1, 2, 5))
    finally:
        library.td_use_threads(*threads_of_torch())
    for other in others:
        assert all(torch.equal(other.found[name], one.found[name]) for name in one.found)


@settings(max_examples=60)
@given(CASES)
def test_no_entry_of_a_list_leaves_the_activations(case):
    """Brute force: the flat index of every entry at every pixel, beside the size of one block."""
    geometry = Geometry(case["kernel"], case["stride"], case["padding"])
    sides = geometry.out_sides(*case["sides"])
    source = zeros((case["images"], case["ins"], *case["sides"]), geometry.pad)
    over = zeros((case["images"], case["outs"], *sides), geometry.gradient_pad(*case["sides"]))
    mask = torch.ones(case["outs"], case["ins"], *case["kernel"])
    plan = Plan(mask, geometry, mask.stride(), source, over)
    for blocks, lists, step in [(source, plan._forward, plan.step), *((over, *both) for both in plan._backward)]:
        first = blocks.pad * blocks.view.row + blocks.pad * LANES
        ys = torch.arange(step.height) * step.in_step[0] * blocks.view.row
        xs = torch.arange(step.width) * step.in_step[1] * LANES
        places = first + ys[:, None, None] + xs[None, :, None] + lists.offsets.long()
        assert places.numel() == 0 or (places.min() >= 0 and places.max() + LANES <= blocks.view.block)
        assert lists.index.numel() == 0 or (lists.index.min() >= 0 and lists.index.max() < mask.numel())


def lists_of(offsets, outs=1):
    count = len(offsets)
    cuts = torch.tensor([0] + [count] * outs, dtype=torch.int32)
    return Lists(
        cuts, 1, torch.tensor(offsets, dtype=torch.int32), torch.zeros(count, dtype=torch.int64), torch.ones(count)
    )


@pytest.mark.parametrize("offset", [-1, 8 * 8 * LANES * 2])
def test_an_offset_outside_a_block_is_refused_at_the_door(calls, offset):
    source, into = Blocks.zeros(16, 2, 8, 8), Blocks.zeros(16, 1, 8, 8)
    with pytest.raises(Refused, match="leaves the input"):
        calls.convolve(into, source, lists_of([offset]), Step(8, 8))


def test_other_dtypes_layouts_and_sizes_are_refused_at_the_door(calls):
    blocks = Blocks.zeros(16, 2, 8, 8)
    with pytest.raises(Refused, match="float32"):
        Blocks(blocks.data.double(), 16)
    with pytest.raises(Refused, match="layout"):
        Blocks(blocks.data.transpose(1, 2), 16)
    with pytest.raises(Refused, match="1 blocks for 17 images"):
        Blocks(blocks.data, 17)
    with pytest.raises(Refused, match="aligned"):
        Blocks(torch.zeros(blocks.data.numel() + 1)[1:].view(blocks.data.shape), 16)
    with pytest.raises(Refused, match="leaves"):
        calls.convolve(Blocks.zeros(16, 1, 8, 8), blocks, lists_of([0]), Step(9, 8))
    with pytest.raises(Refused, match="images of shape"):
        calls.enter(torch.zeros(16, 2, 8, 7), blocks)
    with pytest.raises(Refused, match="weights"):
        calls.gather(torch.zeros(0), lists_of([0]))
