"""A built-in ResNet's pass for one shape of images: its phases in order, and the memory they share.

The activation of a block is made by the first convolution of the next one, which keeps it for the shortcut and for the
backward pass; the activations inside a block are made again from the outputs before BatchNorm. In training each output
has memory of its own, which the next step uses again; without a backward pass those of one shape take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ticketdiet.kernels.blocks import Blocks
from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.geometry import Geometry
from ticketdiet.kernels.kept import Kept
from ticketdiet.kernels.phases import (
    Activation,
    Backward,
    BackwardPhase,
    BandedConvolution,
    Forward,
    ForwardPhase,
    Norm,
    Receiver,
)

Shape = tuple[int, int, int, int]  # images, channels, height, width
Way = Literal["train", "statistics", "evaluate"]  # statistics: BatchNorm as in training, and no backward pass


class Unit:
    """A convolution and the BatchNorm after it, under the mask of its weight (None: dense)."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, mask: Tensor | None) -> None:
        self.conv, self.norm = conv, Norm(norm)
        mask = mask if mask is not None else torch.ones(conv.weight.shape)
        self.kept = Kept(mask, Geometry.of(conv), conv.weight.stride())

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weight of the convolution, weight and bias of BatchNorm."""
        weight = self.conv.weight
        assert isinstance(weight, nn.Parameter)
        return [weight, self.norm.module.weight, self.norm.module.bias]


@dataclass(frozen=True)
class Block:
    """The units of a residual block; ``shortcut`` is None for the identity."""

    main: tuple[Unit, ...]
    shortcut: Unit | None


class _Step:
    """A unit for activations of one size."""

    def __init__(self, unit: Unit, source: Activation, pre: Blocks, *, gradients: bool) -> None:
        self.unit, self.source, self.pre = unit, source, pre
        forward = BandedConvolution(unit.kept, source.data, pre, backward=False)
        unit.norm.reserve(forward=forward.pieces)
        self.forward = ForwardPhase(forward, source, unit.norm)
        self._both = [forward]
        if gradients:
            self._both.append(BandedConvolution(unit.kept, source.data, pre, backward=True))
        self._addresses: tuple[int, ...] = ()

    @property
    def made(self) -> tuple[Blocks, Norm]:
        """What it writes, and the BatchNorm after it."""
        return self.pre, self.unit.norm

    def backward(self, gradient: Blocks, receiver: Receiver | None) -> BackwardPhase:
        """Return its phase of the backward pass, for the gradient of the normalised output."""
        again = self.source if self.source.kept is None else Activation(self.source.kept)
        return BackwardPhase(self._both[1], again, gradient, self.unit.norm, receiver)

    def read(self) -> None:
        """Look where the tensors of the module lie now."""
        weights, norm = self.unit.conv._parameters["weight"], self.unit.norm
        assert weights is not None
        addresses = weights.data_ptr(), *(tensor.data_ptr() for tensor in norm.tensors())
        if addresses != self._addresses:
            for convolution in self._both:
                convolution.read(weights)
            norm.read()
            self._addresses = addresses


class _Memory:
    """Activations of a pass. Gradients of one shape and purpose share theirs; outputs do as well when taking turns."""

    def __init__(self, *, taking_turns: bool) -> None:
        self._taking_turns = taking_turns
        self._turns: dict[str, int] = {}
        self._shared: dict[tuple[str, Shape], Blocks] = {}

    def own(self, purpose: str, shape: Shape) -> Blocks:
        """Return memory that the next but one of this purpose may overwrite when taking turns."""
        if not self._taking_turns:
            return Blocks.zeros(*shape)
        self._turns[purpose] = turn = self._turns.get(purpose, 0) + 1
        return self.shared(f"{purpose} {turn % 2}", shape)

    def shared(self, purpose: str, shape: Shape) -> Blocks:
        """Return memory that whoever asks in these words gets, too."""
        key = purpose, shape
        if key not in self._shared:
            self._shared[key] = Blocks.zeros(*shape)
        return self._shared[key]


@dataclass(frozen=True)
class _Way:
    """A block for activations of one size; ``entering`` is what it reads."""

    main: list[_Step]
    shortcut: _Step | None
    entering: Activation


class ResNetPass:
    """The pass of a network of ``stem`` and ``blocks`` over images of ``shape``.

    Args:
        calls: The kernels.
        stem: First unit.
        blocks: In order.
        shape: Of the images.
        way: Which statistics BatchNorm takes, and whether a backward pass follows.
    """

    def __init__(self, calls: Calls, stem: Unit, blocks: tuple[Block, ...], shape: Shape, way: Way) -> None:
        self._training, self._gradients, self._calls = way != "evaluate", way == "train", calls
        self._memory = _Memory(taking_turns=not self._gradients)
        self._images = Blocks.zeros(*shape)
        self._steps: list[_Step] = []  # in the order of the forward pass
        first = self._add(stem, Activation(self._images))
        entering = self._entering(first, None, None)
        ways: list[_Way] = []
        for block in blocks:
            main = [self._add(block.main[0], entering)]
            assert entering.kept is not None
            shortcut = self._add_shortcut(block, entering.kept)
            for unit in block.main[1:]:
                main.append(self._add(unit, Activation(*main[-1].made)))
            ways.append(_Way(main, shortcut, entering))
            entering = self._entering(main[-1], shortcut, entering.kept)
        self._features = shape[0], entering.data.channels
        self._norms = [step.unit.norm for step in self._steps]
        self._forward = Forward(calls.library, [step.forward for step in self._steps], entering)
        if self._gradients:
            self._backward, self._order = self._connect(ways, entering)
            self._targets: tuple[int, ...] = ()

    def _add(self, unit: Unit, source: Activation, purpose: str = "pre") -> _Step:
        data = source.data
        shape = (data.images, unit.conv.out_channels, *unit.kept.geometry.out_sides(data.height, data.width))
        step = _Step(unit, source, self._memory.own(purpose, shape), gradients=self._gradients)
        self._steps.append(step)
        return step

    def _add_shortcut(self, block: Block, kept: Blocks) -> _Step | None:
        return None if block.shortcut is None else self._add(block.shortcut, Activation(kept), "shortcut")

    def _entering(self, last: _Step, shortcut: _Step | None, identity: Blocks | None) -> Activation:
        """Return the activation that comes out of a block, or out of the stem."""
        kept = self._memory.own("kept", last.pre.shape)
        added, norm = shortcut.made if shortcut else (identity, None)
        return Activation(*last.made, added, norm, kept)

    def _connect(self, ways: list[_Way], last: Activation) -> tuple[Backward, list[_Step]]:
        """Give every gradient its way; return the backward pass, and its order."""
        share = self._memory.shared
        assert last.kept is not None
        gradient = share("outer", last.data.shape)
        start = _receiver(gradient, None, last)
        # A gradient is whole before it is read, and read before it is overwritten.
        order: list[_Step] = []
        phases: list[BackwardPhase] = []

        def do(step: _Step, gradient: Blocks, receiver: Receiver | None) -> None:
            order.append(step)
            phases.append(step.backward(gradient, receiver))

        for way in reversed(ways):
            outer, found = gradient, gradient
            for number in range(len(way.main) - 1, 0, -1):
                source = way.main[number].source
                inner = share(f"inner {number % 2}", source.data.shape)
                do(way.main[number], found, _receiver(inner, None, source))
                found = inner
            if way.shortcut is not None:
                gradient = share("outer", way.entering.data.shape)
                do(way.shortcut, outer, Receiver(gradient, cut=False))
            do(way.main[0], found, _receiver(gradient, gradient, way.entering))
        do(self._steps[0], gradient, None)
        return Backward(self._calls.library, phases, last.kept, start), order

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled features, float32 (images, channels)."""
        for step in self._steps:
            step.read()
        if self._training:
            _count_batch(self._norms)
        self._calls.enter(images.detach(), self._images)
        features = torch.empty(self._features)
        self._forward(features, training=self._training, threads=self._calls.threads)
        return features

    def backward(self, gradient: Tensor, into: Mapping[nn.Parameter, Tensor]) -> None:
        """Add the gradients of the parameters to those of ``into``, from the gradient of the features."""
        found = [[into[parameter] for parameter in step.unit.parameters] for step in self._order]
        addresses = tuple(tensor.data_ptr() for tensors in found for tensor in tensors)
        if addresses != self._targets:
            for number, tensors in enumerate(found):
                self._backward.add_to(number, *tensors)
            self._targets = addresses
        self._backward(gradient.contiguous(), threads=self._calls.threads)


def _count_batch(norms: Sequence[Norm]) -> None:
    """Count the batch, and set how far the running statistics move: to the mean of all batches without a momentum."""
    found = [norm.module._buffers["num_batches_tracked"] for norm in norms]
    counts = [count for count in found if count is not None]
    torch._foreach_add_(counts, 1)
    for norm, count in zip(norms, counts, strict=True):
        momentum = norm.module.momentum
        norm.struct.momentum = momentum if momentum is not None else 1 / float(count)


def _receiver(out: Blocks, added: Blocks | None, activation: Activation) -> Receiver:
    """Return where the gradient of ``activation`` goes."""
    assert activation.norm is not None
    second = None
    if activation.added is not None and activation.added_norm is not None:
        second = activation.added, activation.added_norm
    return Receiver(out, added, (activation.data, activation.norm), second)
