"""Passes of blocks of any geometry, cut into bands of any height, beside the same blocks by torch in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketdiet.kernels import bands, kept
from ticketdiet.kernels.blocks import LANES, Blocks, Refused
from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.geometry import Geometry
from ticketdiet.kernels.kept import Kept
from ticketdiet.kernels.phases import (
    Activation,
    Backward,
    BackwardPhase,
    BandedConvolution,
    ForwardPhase,
    Norm,
    Receiver,
)
from ticketdiet.kernels.resnet_pass import Block, ResNetPass, Unit
from ticketdiet.training.convolutions import safe_convolutions

CASES = st.fixed_dictionaries(
    {
        "images": st.integers(2, 35),
        "sides": st.tuples(st.integers(6, 19), st.integers(6, 19)),
        "width": st.integers(1, 5),
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 3)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 2)),
        "padding": st.tuples(st.integers(0, 3), st.integers(0, 2)),
        "inner": st.integers(0, 2),
        "identity": st.booleans(),
        "density": st.sampled_from([0.0, 0.1, 0.4, 1.0]),
        "scratch": st.sampled_from([1, 10_000, 2**20]),
        "part": st.sampled_from([1, 2, 12]),
        "channels_last": st.booleans(),
    }
)


class Net(nn.Module):
    """A stem, a block of any geometry, and one with an identity shortcut, pooled."""

    def __init__(self, case):
        super().__init__()
        width, stride = case["width"], case["stride"]
        self.stem = unit(2, width, (3, 3), (1, 1), (1, 1))
        first = unit(width, width + 1, case["kernel"], stride, case["padding"])
        inner = [unit(width + 1, width + 1, (3, 3), (1, 1), (1, 1)) for _ in range(case["inner"])]
        self.block = nn.ModuleList([first, *inner])
        self.shortcut = unit(width, width + 1, case["kernel"], stride, case["padding"])
        last = [unit(width + 1, width + 1, (1, 3), (1, 1), (0, 1)) for _ in range(2)]
        self.identity = nn.ModuleList(last if case["identity"] else [])

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(through(self.block, x) + self.shortcut(x))
        if self.identity:
            x = torch.relu(through(self.identity, x) + x)
        return x.mean((2, 3))


def unit(ins, outs, kernel, stride, padding):
    return nn.Sequential(nn.Conv2d(ins, outs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outs, eps=0.1))


def through(units, x):
    for number, one in enumerate(units):
        x = one(x) if number + 1 == len(units) else torch.relu(one(x))
    return x


class Passed:
    """Features, gradients and statistics of one case, by the kernels and by torch."""

    def __init__(self, library, case, threads=1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(case["images"] * 7 + case["width"])
            self.net = Net(case).train()
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):  # away from ReLU's kink, where rounding decides
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.uniform_(module.bias, 0.5, 1.0)
            inputs = torch.randn(case["images"], 2, *case["sides"])
            self.masks = {}
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d):
                    layout = torch.channels_last if case["channels_last"] else torch.contiguous_format
                    self.masks[module] = (torch.rand(module.weight.shape) < case["density"]).float()
                    module.weight.data = (module.weight.data * self.masks[module]).contiguous(memory_format=layout)
            self.inputs, calls = inputs, Calls(library, threads)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kept, "CHANNELS", case["part"])
            patch.setattr(kept, "ENTRIES", 1)
            patch.setattr(bands, "SCRATCH", case["scratch"])
            patch.setattr(bands, "FEWEST", 1)
            self._pass(case, calls)

    def _pass(self, case, calls):
        inputs = self.inputs
        twin, self.net = self.net, copy.deepcopy(self.net)
        masks = [mask for _, mask in sorted_masks(twin, self.masks)]
        self.stock, self.exact = copy.deepcopy(twin), copy.deepcopy(twin).double()
        units = [
            Unit(pair.get_submodule("0"), pair.get_submodule("1"), mask)  # type: ignore[arg-type]
            for pair, mask in zip((m for m in self.net.modules() if isinstance(m, nn.Sequential)), masks, strict=True)
        ]
        inner = case["inner"] + 1
        blocks = [Block(tuple(units[1 : 1 + inner]), units[1 + inner])]
        blocks += [Block(tuple(units[2 + inner :]), None)] if case["identity"] else []
        make = {
            way: ResNetPass(calls, units[0], tuple(blocks), (case["images"], 2, *case["sides"]), way)
            for way in ("train", "statistics", "evaluate")
        }
        self.kept = {f"{name}.weight": masks[n] for n, name in enumerate(names_of(self.net))}
        gradients = {p: torch.zeros_like(p) for p in self.net.parameters()}
        features = make["train"].forward(inputs)
        self.weights_of_loss = torch.arange(features.numel()).view_as(features).sin()
        make["train"].backward(self.weights_of_loss, gradients)
        named = {name: gradients[p] for name, p in self.net.named_parameters()}
        self.found = {"features": features, **named, **{name: b.clone() for name, b in self.net.named_buffers()}}
        self.found["evaluated"] = make["evaluate"].forward(inputs)
        self.found["statistics"] = make["statistics"].forward(inputs)
        self.found |= {f"twice {name}": buffer for name, buffer in self.net.named_buffers()}

    def by(self, net):
        """The same by torch."""
        dtype = next(net.parameters()).dtype
        with safe_convolutions(net):
            features = net(self.inputs.to(dtype))
            (features * self.weights_of_loss.to(dtype)).sum().backward()
        named = {name: p.grad * self.kept.get(name, torch.ones(())) for name, p in net.named_parameters()}
        found = {"features": features.detach(), **named, **{name: b.clone() for name, b in net.named_buffers()}}
        with torch.no_grad(), safe_convolutions(net):
            found["evaluated"] = net.eval()(self.inputs.to(dtype))
            found["statistics"] = net.train()(self.inputs.to(dtype))
            return found | {f"twice {name}": buffer for name, buffer in net.named_buffers()}


def names_of(net):
    return [f"{name}.0" for name, m in net.named_modules() if isinstance(m, nn.Sequential)]


def sorted_masks(net, masks):
    return [(m, masks[m]) for m in net.modules() if isinstance(m, nn.Conv2d)]


def error_of(found, exact):
    return float((found.double() - exact.double()).norm() / (exact.double().norm() + 1))


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_a_pass_forward_backward_and_in_evaluation_is_that_of_torch(library, case):
    passed = Passed(library, case)
    theirs, exact = passed.by(passed.stock), passed.by(passed.exact)
    worst = max(error_of(theirs[name], value) for name, value in exact.items())
    for name, value in exact.items():
        ours, others = error_of(passed.found[name], value), error_of(theirs[name], value)
        assert ours < max(10 * others, worst) + 1e-5, f"{name}: {ours}, torch {others}"
    for name, mask in passed.kept.items():
        assert (passed.found[name][mask == 0] == 0).all()


CASE = {"images": 33, "sides": (17, 18), "width": 5, "kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
CASE |= {"inner": 1, "identity": True, "density": 0.4, "part": 2, "scratch": 10_000, "channels_last": True}


@pytest.mark.parametrize("images", [16, 33, 160])
def test_one_two_and_five_threads_give_the_same_bits(library, images):
    one, *others = (Passed(library, CASE | {"images": images}, threads).found for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(other[name], value) for name, value in one.items())


def test_gradients_are_added_to_what_is_there(library):
    net, masks = unit(2, 3, (3, 3), (1, 1), (1, 1)), torch.ones(3, 2, 3, 3)
    images = torch.randn(5, 2, 8, 8)
    found = []
    for start in (0.0, 2.0):
        one = ResNetPass(Calls(library), Unit(net[0], net[1], masks), (), (5, 2, 8, 8), "train")
        gradients = {p: torch.full_like(p, start) for p in net.parameters()}
        one.forward(images)
        one.backward(torch.ones(5, 3), gradients)
        found.append([gradient - start for gradient in gradients.values()])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@settings(max_examples=60)
@given(CASES)
def test_no_entry_of_a_list_leaves_the_scratch_memory(case):
    """Brute force: the index of every entry at every pixel of every band, beside the size of the scratch memory."""
    geometry = Geometry(case["kernel"], case["stride"], case["padding"])
    ins, outs = case["width"], case["width"] + 1
    source = Blocks.zeros(case["images"], ins, *case["sides"])
    out = Blocks.zeros(case["images"], outs, *geometry.out_sides(*case["sides"]))
    ones = Kept(torch.ones(outs, ins, *case["kernel"]), geometry, (ins * 12, 12, 3, 1))
    convolution = BandedConvolution(ones, source, out, backward=True, rows=1 + case["inner"])
    struct, (across, down) = convolution.struct, geometry.stride[::-1]
    for band in convolution.bands:
        ys = torch.arange(*band.out) * down - band.source[0]
        xs = torch.arange(out.width) * across + struct.input.pad
        check_places(convolution.forward_lists, struct.input, ins, ys, xs)
        for (row, column), lists in convolution.backward_lists:
            ys = torch.tensor([(y - row) // down for y in range(*band.own) if y % down == row]) - band.gradient[0]
            xs = torch.tensor([(x - column) // across for x in range(source.width) if x % across == column])
            check_places(lists, struct.gradient, outs, ys, xs + struct.gradient.pad)


def check_places(lists, layout, channels, ys, xs):
    places = ys[:, None, None] * layout.row + xs[None, :, None] * LANES + lists.offsets.long()
    assert places.numel() == 0 or (places.min() >= 0 and places.max() + LANES <= channels * layout.channel)


def test_activations_that_do_not_belong_together_are_refused(calls):
    ones = Kept(torch.ones(3, 2, 3, 3), Geometry((3, 3), (1, 1), (1, 1)), (18, 9, 3, 1))
    source, out, norm = Blocks.zeros(16, 2, 8, 8), Blocks.zeros(16, 3, 8, 8), Norm(nn.BatchNorm2d(3))
    convolution = BandedConvolution(ones, source, out, backward=True)
    with pytest.raises(Refused, match="for a mask"):
        BandedConvolution(ones, out, source, backward=False)
    with pytest.raises(Refused, match="other sides"):
        BandedConvolution(ones, source, Blocks.zeros(16, 3, 8, 7), backward=False)
    with pytest.raises(Refused, match="belong together"):
        BandedConvolution(ones, source, Blocks.zeros(17, 3, 8, 8), backward=False)
    with pytest.raises(Refused, match="with borders"):
        Activation(source, added=Blocks.zeros(16, 2, 8, 8, pad=1))
    with pytest.raises(Refused, match="BatchNorm of other data"):
        Activation(source, norm)
    with pytest.raises(Refused, match="after a BatchNorm"):
        Receiver(source)
    with pytest.raises(Refused, match="other channels"):
        ForwardPhase(convolution, Activation(source), Norm(nn.BatchNorm2d(2)))
    with pytest.raises(Refused, match="weights"):
        convolution.read(torch.zeros(3, 2, 3, 3, dtype=torch.float64))
    same = BandedConvolution(Kept(torch.ones(3, 3, 3, 3), ones.geometry, (27, 9, 3, 1)), out, out, backward=True)
    with pytest.raises(Refused, match="overwritten while others read"):
        BackwardPhase(same, Activation(out), out, norm, Receiver(out, cut=False))
    with pytest.raises(Refused, match="activations of shapes"):
        Backward(calls.library, [], source, Receiver(out, cut=False))
