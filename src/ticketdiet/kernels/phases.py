"""Phases of a network's pass: a convolution with the BatchNorm, shortcut and ReLU before it, and what is checked first.

A pass has to wait for all images wherever BatchNorm takes its statistics (forward) or its two sums (backward). Between
two waits lies one phase, which reads what it needs once, works on bands that stay in a core's cache, and writes once.
What is refused here is a mistake of this package, never of its user.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ticketdiet.kernels.bands import Band, bands, most, rows_that_fit
from ticketdiet.kernels.blocks import FLOAT, LANES, NO_VIEW, SIZE, Blocks, Lists, ViewStruct, pointer, require
from ticketdiet.kernels.kept import Kept, Layout
from ticketdiet.kernels.structs import (
    ActivationStruct,
    BackwardStruct,
    BandStruct,
    ConvolutionStruct,
    ForwardStruct,
    NormStruct,
    ReceiverStruct,
    ScratchStruct,
    TapsStruct,
)


class Norm:
    """A BatchNorm between two convolutions, and the statistics of a pass.

    Args:
        module: With parameters and running statistics.
    """

    def __init__(self, module: nn.BatchNorm2d) -> None:
        self.module, self.channels = module, module.num_features
        self._applied = torch.empty(2, self.channels)
        self._moments, self._sums = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
        start = self._applied.data_ptr()
        self.struct = NormStruct(epsilon=module.eps, mean=start, inverse=start + self.channels * FLOAT)

    def reserve(self, *, forward: int = 0, backward: int = 0) -> None:
        """Make room for the moments and the sums of so many pieces."""
        if self._moments.numel() < forward * self.channels * 3:
            self._moments = torch.empty(forward, self.channels, 3, dtype=torch.float64)
        if self._sums.numel() < backward * self.channels * 2:
            self._sums = torch.empty(backward, self.channels, 2, dtype=torch.float64)
        self.struct.moments, self.struct.sums = self._moments.data_ptr(), self._sums.data_ptr()

    def tensors(self) -> list[Tensor]:
        """Return weight, bias, running mean and running variance as they are now."""
        parameters, buffers = self.module._parameters, self.module._buffers  # attributes of modules are slow to find
        found = parameters["weight"], parameters["bias"], buffers["running_mean"], buffers["running_var"]
        return [tensor for tensor in found if tensor is not None]

    def read(self) -> None:
        """Look where the module's tensors lie."""
        names = ("weight", "bias", "running_mean", "running_var")
        for name, tensor in zip(names, self.tensors(), strict=True):
            setattr(self.struct, name, pointer(tensor.detach(), torch.float32, self.channels, f"BatchNorm's {name}"))


@dataclass(frozen=True, eq=False)
class Activation:
    """What a convolution reads: ``data`` as it is without ``norm``, else relu(norm(data) + added_norm(added)).

    Attributes:
        data: Activations, without a border as all here.
        norm: BatchNorm of ``data``, or None.
        added: Of a shortcut, or None.
        added_norm: BatchNorm of ``added``, or None.
        kept: Where the result is written too, or None.
    """

    data: Blocks
    norm: Norm | None = None
    added: Blocks | None = None
    added_norm: Norm | None = None
    kept: Blocks | None = None

    def __post_init__(self) -> None:
        _same(self.data, self.added, self.kept)
        for norm, data in ((self.norm, self.data), (self.added_norm, self.added)):
            require(norm is None or (data is not None and data.channels == norm.channels), "a BatchNorm of other data")

    @cached_property
    def struct(self) -> ActivationStruct:
        """What the kernels are given."""
        return ActivationStruct(
            _view(self.data), _view(self.added), _view(self.kept), _norm(self.norm), _norm(self.added_norm)
        )


@dataclass(frozen=True, eq=False)
class Receiver:
    """Where the gradient of an activation goes: ``out`` = (gradient + added), 0 where the ReLU was shut if ``cut``.

    Attributes:
        out: Written; may be ``added``.
        added: Another gradient of the same activation, or None.
        first: (input, BatchNorm) of the activation, whose sums are measured; None for neither.
        second: The same of the shortcut that was added.
        cut: Whether the activation came out of a ReLU.
    """

    out: Blocks
    added: Blocks | None = None
    first: tuple[Blocks, Norm] | None = None
    second: tuple[Blocks, Norm] | None = None
    cut: bool = True

    def __post_init__(self) -> None:
        _same(self.out, self.added, *(pair[0] for pair in (self.first, self.second) if pair))
        require((self.first is not None) == self.cut, "a ReLU comes after a BatchNorm")
        require(self.second is None or self.first is not None, "a second BatchNorm without a first")

    def reserve(self, pieces: int) -> None:
        """Make room for the sums of so many pieces."""
        for pair in (self.first, self.second):
            if pair is not None:
                pair[1].reserve(backward=pieces)

    @cached_property
    def struct(self) -> ReceiverStruct:
        """What the kernels are given."""
        pairs = [pair or (None, None) for pair in (self.first, self.second)]
        views, norms = [_view(data) for data, _ in pairs], [_norm(norm) for _, norm in pairs]
        return ReceiverStruct(_view(self.out), _view(self.added), *views, *norms, int(self.cut))


class BandedConvolution:
    """A convolution under its mask, cut into bands for one direction.

    Args:
        kept: The kept weights.
        source: Activations of the size of the input.
        out: Activations of the size of the output.
        backward: For a ``BackwardPhase``; otherwise for a ``ForwardPhase``.
        rows: Of the output in a band; default what suits a core's cache.

    Attributes:
        bands: As they are worked on.
        pieces: Bands of all blocks.
    """

    def __init__(self, kept: Kept, source: Blocks, out: Blocks, *, backward: bool, rows: int | None = None) -> None:
        geometry, sides = kept.geometry, (source.height, source.width)
        require((source.channels, out.channels) == (kept.ins, kept.outs), f"{source.shape} and {out.shape} for a mask")
        require((out.height, out.width) == geometry.out_sides(*sides), "an output of other sides")
        require(source.images == out.images and source.pad == out.pad == 0, "activations that do not belong together")
        self.kept, self.source, self.out = kept, source, out
        rows = rows or rows_that_fit(geometry, (kept.ins, kept.outs), sides, backward=backward)
        self.bands = bands(geometry, sides, rows)
        self.pieces = source.data.shape[0] * len(self.bands)
        input_ = _scratch(most(self.bands, "source"), source.width, geometry.pad)
        gradient = _scratch(most(self.bands, "gradient"), out.width, geometry.gradient_pad(*sides))
        require(max(kept.ins * input_.channel, kept.outs * gradient.channel) < 2**31, "activations too large")
        self.forward_lists = kept.forward(Layout(input_.channel, input_.row))
        found = list(kept.backward(Layout(gradient.channel, gradient.row))) if backward else []
        self.backward_lists = found
        self._taps = (TapsStruct * len(found))(*(_taps(lists, first) for first, lists in found))
        self._bands = (BandStruct * len(self.bands))(*map(_band, self.bands))
        self.struct = ConvolutionStruct(
            *(source.extent, out.extent, ctypes.addressof(self._bands), len(self.bands), *geometry.stride),
            *(input_, gradient, most(self.bands, "own"), None, _taps(self.forward_lists, (0, 0))),
            *(ctypes.addressof(self._taps), len(found)),
        )

    def read(self, weights: Tensor) -> None:
        """Look where the weights lie."""
        self.struct.weights = pointer(self.kept.flat(weights), torch.float32, self.kept.storage, "weights")


@dataclass(frozen=True, eq=False)
class ForwardPhase:
    """``convolution.out`` = convolution of ``source``; then ``norm`` takes its statistics, or the running ones."""

    convolution: BandedConvolution
    source: Activation
    norm: Norm

    def __post_init__(self) -> None:
        _same(self.convolution.source, self.source.data)
        require(self.convolution.out.channels == self.norm.channels, "a BatchNorm of other channels")


@dataclass(frozen=True, eq=False)
class BackwardPhase:
    """The gradients of a convolution and its BatchNorm, and of what it read.

    Attributes:
        convolution: Made for this direction; ``out`` is what it wrote.
        source: What it read, as it is.
        gradient: That of norm(out), whose sums ``norm`` has.
        norm: BatchNorm of the output.
        receiver: Gets the gradient of ``source``, unless it is None.
    """

    convolution: BandedConvolution
    source: Activation
    gradient: Blocks
    norm: Norm
    receiver: Receiver | None

    def __post_init__(self) -> None:
        _same(self.convolution.source, self.source.data, self.receiver.out if self.receiver else None)
        _same(self.convolution.out, self.gradient)
        require(self.source.kept is None and self.source.added is None, "an activation that has to be made as a whole")
        if self.receiver is not None:
            require(self.receiver.out is not self.gradient, "a gradient that is overwritten while others read it")
            self.receiver.reserve(self.convolution.pieces)


class Forward:
    """The phases of a forward pass, with ``pool`` of the last activation at their end."""

    def __init__(self, library: ctypes.CDLL, phases: Sequence[ForwardPhase], last: Activation) -> None:
        require(last.kept is not None, "a pooled activation has to be kept")
        self._library, self._phases, self._last = library, phases, last
        self._structs = (ForwardStruct * len(phases))(
            *(
                ForwardStruct(
                    ctypes.addressof(phase.convolution.struct),
                    ctypes.addressof(phase.source.struct),
                    phase.convolution.out.view,
                    ctypes.addressof(phase.norm.struct),
                )
                for phase in phases
            )
        )

    def __call__(self, means: Tensor, *, training: bool, threads: int) -> None:
        """Write the mean of the last activation over its pixels to ``means``, float32 (images, channels)."""
        data = self._last.data
        start = pointer(means, torch.float32, data.images * data.channels, "means")
        self._library.td_forward(self._structs, SIZE(len(self._structs)), SIZE(training), SIZE(threads))
        self._library.td_pool(
            ctypes.byref(self._last.struct), ctypes.byref(data.extent), ctypes.c_void_p(start), SIZE(threads)
        )


class Backward:
    """The phases of a backward pass, after the gradient of ``pool``.

    Args:
        library: The kernels.
        phases: In their order.
        shown: The activation that was pooled.
        start: Gets its gradient.
    """

    def __init__(self, library: ctypes.CDLL, phases: Sequence[BackwardPhase], shown: Blocks, start: Receiver) -> None:
        _same(shown, start.out)
        start.reserve(shown.data.shape[0])
        self._library, self._phases, self._shown, self._start = library, phases, shown, start
        most_partial = max(phase.convolution.pieces * phase.convolution.forward_lists.kept for phase in phases)
        self._partial = torch.empty(most_partial)
        self._structs = (BackwardStruct * len(phases))(
            *(
                BackwardStruct(
                    ctypes.addressof(phase.convolution.struct),
                    ctypes.addressof(phase.source.struct),
                    phase.convolution.out.view,
                    phase.gradient.view,
                    ctypes.addressof(phase.norm.struct),
                    ctypes.addressof(phase.receiver.struct) if phase.receiver else None,
                    self._partial.data_ptr(),
                )
                for phase in phases
            )
        )

    def add_to(self, number: int, weights: Tensor, norm_weight: Tensor, norm_bias: Tensor) -> None:
        """Let phase ``number`` add its gradients to these tensors, laid out like the parameters."""
        phase, struct = self._phases[number], self._structs[number]
        kept, channels = phase.convolution.kept, phase.norm.channels
        struct.weights = pointer(kept.flat(weights), torch.float32, kept.storage, "gradient of the weights")
        struct.norm_weight = pointer(norm_weight, torch.float32, channels, "gradient of BatchNorm's weight")
        struct.norm_bias = pointer(norm_bias, torch.float32, channels, "gradient of BatchNorm's bias")

    def __call__(self, gradient: Tensor, *, threads: int) -> None:
        """Take the gradient of the means, float32 (images, channels)."""
        shown = self._shown
        start = pointer(gradient, torch.float32, shown.images * shown.channels, "gradient of means")
        self._library.td_unpool(
            ctypes.c_void_p(start),
            ctypes.byref(shown.extent),
            ctypes.byref(shown.view),
            ctypes.byref(self._start.struct),
            SIZE(threads),
        )
        self._library.td_backward(self._structs, SIZE(len(self._structs)), SIZE(threads))


def _same(first: Blocks, *others: Blocks | None) -> None:
    shapes = [one.shape for one in (first, *others) if one is not None]
    pads = [one.pad for one in (first, *others) if one is not None]
    require(len(set(shapes)) == 1 and set(pads) == {0}, f"activations of shapes {shapes} with borders {pads}")


def _view(blocks: Blocks | None) -> ViewStruct:
    return blocks.view if blocks is not None else NO_VIEW


def _norm(norm: Norm | None) -> int | None:
    return ctypes.addressof(norm.struct) if norm else None


def _scratch(rows: int, width: int, pad: int) -> ScratchStruct:
    row = (width + 2 * pad) * LANES
    return ScratchStruct(rows * row, row, pad)


def _taps(lists: Lists, first: tuple[int, int]) -> TapsStruct:
    return TapsStruct(lists.struct, lists.index.data_ptr(), *first)


def _band(band: Band) -> BandStruct:
    return BandStruct(*band.out, *band.source, *band.own, *band.gradient)
