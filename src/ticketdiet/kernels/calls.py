"""The door to the compiled kernels: what is passed is checked here, before any pointer is.

Activations live in ``Blocks``: float32 of shape (ceil(images / 16), channels, height + 2 pad, width + 2 pad, 16), the
sixteen images of a block innermost and a border of zeros around every plane. Everything here checks dtypes, devices,
contiguity and extents with plain asserts in the sense of the style guide: a failure is a bug of this package.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LANES = 16
_FLOAT, _SIZE = 4, ctypes.c_int64


class _View(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("block", _SIZE), ("channel", _SIZE), ("row", _SIZE)]


class _Extent(ctypes.Structure):
    _fields_ = [(name, _SIZE) for name in ("blocks", "channels", "height", "width", "last_lanes")]


class _Lists(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("rows", "offsets", "values")] + [("outs", _SIZE)]


class _Grid(ctypes.Structure):
    _fields_ = [("out", ctypes.c_void_p), ("in", ctypes.c_void_p)] + [
        (name, _SIZE)
        for name in (
            *("blocks", "height", "width", "out_block", "out_channel", "out_row", "out_column"),
            *("in_block", "in_row", "in_column"),
        )
    ]


class _Norm(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p) for name in ("weight", "bias", "running_mean", "running_var", "mean", "inverse")
    ] + [("epsilon", ctypes.c_double), ("momentum", ctypes.c_double)]


NO_VIEW = _View(None, 0, 0, 0)


class Refused(ValueError):
    """Tensors that the kernels must not be given."""


def require(condition: bool, what: str) -> None:
    """Refuse what would let a kernel read or write out of bounds."""
    if not condition:
        raise Refused(what)


def pointer(tensor: Tensor, dtype: torch.dtype, count: int, what: str) -> int:
    """Return the address of a contiguous CPU tensor of ``dtype`` with at least ``count`` elements."""
    require(tensor.dtype == dtype and tensor.device.type == "cpu", f"{what} has to be {dtype} on the CPU")
    require(tensor.is_contiguous() and tensor.numel() >= count, f"{what} has to be contiguous, {count} elements")
    return tensor.data_ptr()


@dataclass(frozen=True, eq=False)
class Blocks:
    """Activations of ``images`` images in the kernels' layout.

    Attributes:
        data: float32 (blocks, channels, height + 2 pad, width + 2 pad, 16), aligned to 64 bytes; border and the lanes
            past the last image are 0.
        images: Images in it.
        pad: Width of the border.
    """

    data: Tensor
    images: int
    pad: int = 0

    def __post_init__(self) -> None:
        data, blocks = self.data, -(-self.images // LANES)
        require(data.dtype == torch.float32 and data.device.type == "cpu", "activations have to be float32 on the CPU")
        require(data.dim() == 5 and data.is_contiguous() and data.shape[4] == LANES, "activations of another layout")
        require(data.data_ptr() % (LANES * _FLOAT) == 0, "activations have to be aligned to 64 bytes")
        require(self.images > 0 and data.shape[0] == blocks, f"{data.shape[0]} blocks for {self.images} images")
        require(self.pad >= 0 and self.height > 0 and self.width > 0, "activations without pixels")

    @classmethod
    def zeros(cls, images: int, channels: int, height: int, width: int, pad: int = 0) -> Blocks:
        """Make activations that are 0."""
        shape = (-(-images // LANES), channels, height + 2 * pad, width + 2 * pad, LANES)
        return cls(torch.zeros(shape), images, pad)

    @property
    def channels(self) -> int:
        """Channels."""
        return self.data.shape[1]

    @property
    def height(self) -> int:
        """Rows without the border."""
        return self.data.shape[2] - 2 * self.pad

    @property
    def width(self) -> int:
        """Columns without the border."""
        return self.data.shape[3] - 2 * self.pad

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(images, channels, height, width), as the stock layout has it."""
        return self.images, self.channels, self.height, self.width

    @cached_property
    def view(self) -> _View:
        """What the kernels are given."""
        row = self.data.shape[3] * LANES
        channel = self.data.shape[2] * row
        first = self.data.data_ptr() + (self.pad * row + self.pad * LANES) * _FLOAT
        return _View(first, self.channels * channel, channel, row)

    @cached_property
    def extent(self) -> _Extent:
        """What the kernels are given."""
        last = self.images - (self.data.shape[0] - 1) * LANES
        return _Extent(self.data.shape[0], self.channels, self.height, self.width, last)

    @property
    def last_lanes(self) -> int:
        """Images in the last block."""
        return int(self.extent.last_lanes)


@dataclass(frozen=True, eq=False)
class Lists:
    """Kept weights by output channel: where the input pixel lies, and the place of the weight.

    Attributes:
        rows: int32 (outs + 1,): where each output channel's list begins.
        offsets: int32 (kept,): floats from the input pixel under an output pixel.
        index: int64 (kept,): element of the weights' storage.
        values: float32 (kept,): the weights, by ``gather``.
    """

    rows: Tensor
    offsets: Tensor
    index: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        kept = int(self.rows[-1])
        require(bool((self.rows.diff() >= 0).all()) and int(self.rows[0]) == 0, "lists that do not ascend")
        pointer(self.rows, torch.int32, 1, "rows")
        for tensor, dtype in ((self.offsets, torch.int32), (self.index, torch.int64), (self.values, torch.float32)):
            pointer(tensor, dtype, kept, "a list")

    @property
    def outs(self) -> int:
        """Output channels."""
        return self.rows.numel() - 1

    @property
    def kept(self) -> int:
        """Entries."""
        return self.offsets.numel()

    @cached_property
    def span(self) -> tuple[int, int]:
        """Least and greatest offset."""
        return (int(self.offsets.min()), int(self.offsets.max())) if self.kept else (0, 0)

    @cached_property
    def most(self) -> int:
        """Greatest element of the weights' storage that is read."""
        return int(self.index.max()) if self.kept else -1

    @cached_property
    def struct(self) -> _Lists:
        """What the kernels are given."""
        return _Lists(self.rows.data_ptr(), self.offsets.data_ptr(), self.values.data_ptr(), self.outs)


@dataclass(frozen=True)
class Step:
    """How output pixels lie over input pixels, both counted without their borders.

    Output pixel (out_first + y * out_step) lies over input pixel (y * in_step), for y below ``height``, and likewise for
    x. Pairs are (row, column).
    """

    height: int
    width: int
    out_first: tuple[int, int] = (0, 0)
    out_step: tuple[int, int] = (1, 1)
    in_step: tuple[int, int] = (1, 1)


class Calls:
    """The kernels of one library, with ``threads`` threads."""

    def __init__(self, library: ctypes.CDLL, threads: int = 1) -> None:
        self._library, self.threads = library, threads

    def gather(self, weights: Tensor, lists: Lists) -> None:
        """Read the values of ``lists`` from ``weights``, the weights' storage as a flat float32 tensor."""
        start = pointer(weights, torch.float32, lists.most + 1, "weights")
        self._library.td_gather(
            ctypes.c_void_p(start),
            ctypes.c_void_p(lists.index.data_ptr()),
            _SIZE(lists.kept),
            ctypes.c_void_p(lists.values.data_ptr()),
        )

    def convolve(
        self,
        into: Blocks,
        source: Blocks,
        lists: Lists,
        step: Step,
        *,
        bias: Tensor | None = None,
        accumulate: bool = False,
        moments: Tensor | None = None,
    ) -> None:
        """Write (or add to ``into``) the sums over ``lists`` at every pixel of ``step``; measure them on the way.

        ``moments``: float64 (``tile_pieces`` * blocks, outs, 3), see ``norm_statistics``.
        """
        grid = _grid(into, source, lists, step)
        if moments is not None:
            count = self.pieces(source, step) * lists.outs * 3
            pointer(moments, torch.float64, count, "moments")
        self._library.td_convolve(
            ctypes.byref(grid),
            ctypes.byref(lists.struct),
            ctypes.c_void_p(None if bias is None else pointer(bias, torch.float32, lists.outs, "bias")),
            _SIZE(accumulate),
            ctypes.c_void_p(None if moments is None else moments.data_ptr()),
            _SIZE(source.last_lanes),
            _SIZE(self.threads),
        )

    def pieces(self, source: Blocks, step: Step) -> int:
        """Pieces by which the moments of one channel are counted."""
        blocks = source.data.shape[0]
        per_block = self._library.td_tile_pieces(_SIZE(blocks), _SIZE(step.height), _SIZE(step.width))
        return blocks * int(per_block)

    def correlate(self, gradient: Blocks, source: Blocks, lists: Lists, step: Step, into: Tensor) -> None:
        """Write the gradients of the kept weights into ``into``, the gradient's storage as a flat float32 tensor."""
        grid = _grid(gradient, source, lists, step)
        start = pointer(into, torch.float32, lists.most + 1, "gradient of the weights")
        partial = torch.empty(source.data.shape[0] * lists.kept)
        self._library.td_correlate(
            ctypes.byref(grid),
            ctypes.byref(lists.struct),
            ctypes.c_void_p(lists.index.data_ptr()),
            ctypes.c_void_p(partial.data_ptr()),
            ctypes.c_void_p(start),
            _SIZE(self.threads),
        )

    def norm_statistics(self, norm: _Norm, moments: Tensor, channels: int) -> None:
        """Turn moments into the batch's statistics, and move the running ones."""
        self._library.td_moments(
            ctypes.byref(norm), ctypes.c_void_p(moments.data_ptr()), _SIZE(moments.shape[0]), _SIZE(channels)
        )

    def norm_forward(self, norm: _Norm, source: Blocks, residual: Blocks | None, into: Blocks, *, relu: bool) -> None:
        """``into`` = relu(norm(source) + residual)."""
        _same_shape(source, into, *([residual] if residual else []))
        self._library.td_norm_forward(
            ctypes.byref(norm),
            ctypes.byref(source.extent),
            ctypes.byref(source.view),
            ctypes.byref(residual.view if residual else NO_VIEW),
            ctypes.byref(into.view),
            _SIZE(relu),
            _SIZE(self.threads),
        )

    def norm_backward(
        self,
        norm: _Norm,
        gradient: Blocks,
        shown: Blocks | None,
        source: Blocks,
        into: Blocks,
        weight_gradient: Tensor,
        bias_gradient: Tensor,
    ) -> None:
        """Gradient of ``norm_forward``: ``gradient`` is cut to where ``shown`` > 0, in place; ``into`` is the source's."""
        _same_shape(gradient, source, into, *([shown] if shown else []))
        sums = torch.empty(source.data.shape[0] * source.channels * 2, dtype=torch.float64)
        extent = ctypes.byref(source.extent)
        self._library.td_norm_sums(
            ctypes.byref(norm),
            extent,
            ctypes.byref(gradient.view),
            ctypes.byref(shown.view if shown else NO_VIEW),
            ctypes.byref(source.view),
            ctypes.c_void_p(sums.data_ptr()),
            _SIZE(self.threads),
        )
        self._library.td_norm_backward(
            ctypes.byref(norm),
            extent,
            ctypes.byref(gradient.view),
            ctypes.byref(source.view),
            ctypes.byref(into.view),
            ctypes.c_void_p(sums.data_ptr()),
            ctypes.c_void_p(pointer(weight_gradient, torch.float32, source.channels, "gradient of BatchNorm's weight")),
            ctypes.c_void_p(pointer(bias_gradient, torch.float32, source.channels, "gradient of BatchNorm's bias")),
            _SIZE(self.threads),
        )

    def pool(self, source: Blocks, means: Tensor) -> None:
        """``means`` (images, channels) = mean over the pixels."""
        start = pointer(means, torch.float32, source.images * source.channels, "means")
        self._library.td_pool(
            ctypes.byref(source.extent), ctypes.byref(source.view), ctypes.c_void_p(start), _SIZE(self.threads)
        )

    def unpool(self, gradient: Tensor, into: Blocks) -> None:
        """The gradient of ``pool``."""
        start = pointer(gradient, torch.float32, into.images * into.channels, "gradient of means")
        self._library.td_unpool(
            ctypes.byref(into.extent), ctypes.c_void_p(start), ctypes.byref(into.view), _SIZE(self.threads)
        )

    def enter(self, images: Tensor, into: Blocks) -> None:
        """Bring (images, channels, height, width), of any strides, into the layout."""
        self._library.td_enter(
            ctypes.byref(into.extent), *_stock(images, into), ctypes.byref(into.view), _SIZE(self.threads)
        )

    def leave(self, source: Blocks, images: Tensor) -> None:
        """Bring activations back to (images, channels, height, width), of any strides."""
        self._library.td_leave(
            ctypes.byref(source.extent), ctypes.byref(source.view), *_stock(images, source), _SIZE(self.threads)
        )


def norm_struct(
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    scratch: Tensor,
    epsilon: float,
    momentum: float,
) -> _Norm:
    """Describe a BatchNorm; ``scratch`` (2, channels) holds the batch's statistics from forward to backward."""
    channels = weight.numel()
    per_channel = (weight, bias, running_mean, running_var)
    addresses = [pointer(tensor, torch.float32, channels, "a tensor of BatchNorm") for tensor in per_channel]
    require(all(tensor.numel() == channels for tensor in per_channel), "BatchNorm of uneven tensors")
    start = pointer(scratch, torch.float32, 2 * channels, "statistics")
    return _Norm(*addresses, start, start + channels * _FLOAT, epsilon, momentum)


def _same_shape(*blocks: Blocks) -> None:
    require(len({one.shape for one in blocks}) == 1, f"activations of shapes {[one.shape for one in blocks]}")


def _stock(images: Tensor, blocks: Blocks) -> tuple[ctypes.c_void_p, ctypes.Array]:
    require(images.dtype == torch.float32 and images.device.type == "cpu", "images have to be float32 on the CPU")
    require(tuple(images.shape) == blocks.shape, f"images of shape {tuple(images.shape)} for {blocks.shape}")
    strides: Sequence[int] = images.stride()
    return ctypes.c_void_p(images.data_ptr()), (_SIZE * 4)(*strides)


def _grid(into: Blocks, source: Blocks, lists: Lists, step: Step) -> _Grid:
    """Lay output over input; refuse whatever would reach outside either."""
    require(into.images == source.images, f"{into.images} images from {source.images}")
    require(lists.outs == into.channels, f"lists for {lists.outs} channels, {into.channels} expected")
    steps = (*step.out_step, *step.in_step)
    require(step.height > 0 and step.width > 0 and min(steps) > 0, f"an empty grid {step}")
    out, inn = into.view, source.view
    for axis, (count, side) in enumerate(((step.height, into.height), (step.width, into.width))):
        first = step.out_first[axis]
        require(0 <= first and first + (count - 1) * step.out_step[axis] < side, f"{step} leaves {into.shape}")
    # One block of the input is contiguous; its first float is the corner of the border.
    near = source.pad * inn.row + source.pad * LANES
    far = near + (step.height - 1) * step.in_step[0] * inn.row + (step.width - 1) * step.in_step[1] * LANES
    least, most = lists.span
    require(lists.kept == 0 or (near + least >= 0 and far + most + LANES <= inn.block), f"{step} leaves the input")
    return _Grid(
        out.data + (step.out_first[0] * out.row + step.out_first[1] * LANES) * _FLOAT,
        inn.data,
        *(source.data.shape[0], step.height, step.width),
        *(out.block, out.channel, out.row * step.out_step[0], LANES * step.out_step[1]),
        *(inn.block, inn.row * step.in_step[0], LANES * step.in_step[1]),
    )
