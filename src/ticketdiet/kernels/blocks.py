"""What the compiled kernels are given: activations, lists of kept weights, and the C structures of both.

Activations live in ``Blocks``: float32 of shape (ceil(images / 16), channels, height + 2 pad, width + 2 pad, 16), the
sixteen images of a block innermost and a border of zeros around every plane. Dtypes, devices, alignment, contiguity and
extents are checked when one of these is made, and by ``calls`` when they meet. What is refused is a mistake of this
package, never of its user.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LANES = 16
FLOAT, SIZE = 4, ctypes.c_int64


class ViewStruct(ctypes.Structure):
    """Where activations lie: address of the first pixel, strides in floats."""

    _fields_ = [("data", ctypes.c_void_p), ("block", SIZE), ("channel", SIZE), ("row", SIZE)]


class ExtentStruct(ctypes.Structure):
    """How many blocks, channels, rows, columns, and images in the last block."""

    _fields_ = [(name, SIZE) for name in ("blocks", "channels", "height", "width", "last_lanes")]


class ListsStruct(ctypes.Structure):
    """Lists of kept weights."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("cuts", "offsets", "values")] + [
        (name, SIZE) for name in ("outs", "parts")
    ]


class GridStruct(ctypes.Structure):
    """Output pixels of a call, and where they and the input pixels under them lie."""

    _fields_ = [("out", ctypes.c_void_p), ("in", ctypes.c_void_p)] + [
        (name, SIZE)
        for name in (
            *("blocks", "height", "width", "out_block", "out_channel", "out_row", "out_column"),
            *("in_block", "in_row", "in_column"),
        )
    ]


NO_VIEW = ViewStruct(None, 0, 0, 0)


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
        require(data.data_ptr() % (LANES * FLOAT) == 0, "activations have to be aligned to 64 bytes")
        require(self.images > 0 and data.shape[0] == blocks, f"{data.shape[0]} blocks for {self.images} images")
        require(self.pad >= 0 and self.height > 0 and self.width > 0, "activations without pixels")

    @classmethod
    def zeros(cls, images: int, channels: int, height: int, width: int, pad: int = 0) -> Blocks:
        """Make activations that are 0."""
        shape = (-(-images // LANES), channels, height + 2 * pad, width + 2 * pad, LANES)
        return cls(torch.zeros(shape), images, pad)

    @classmethod
    def bordered(cls, images: int, channels: int, height: int, width: int, pad: int = 0) -> Blocks:
        """Make activations to be written whole: only the border is 0 as yet."""
        shape = (-(-images // LANES), channels, height + 2 * pad, width + 2 * pad, LANES)
        data = torch.empty(shape)
        if pad:
            data[:, :, :pad] = data[:, :, -pad:] = 0
            data[:, :, :, :pad] = data[:, :, :, -pad:] = 0
        return cls(data, images, pad)

    @cached_property
    def channels(self) -> int:
        """Channels."""
        return self.data.shape[1]

    @cached_property
    def height(self) -> int:
        """Rows without the border."""
        return self.data.shape[2] - 2 * self.pad

    @cached_property
    def width(self) -> int:
        """Columns without the border."""
        return self.data.shape[3] - 2 * self.pad

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """(images, channels, height, width), as the stock layout has it."""
        return self.images, self.channels, self.height, self.width

    @cached_property
    def view(self) -> ViewStruct:
        """What the kernels are given."""
        row = self.data.shape[3] * LANES
        channel = self.data.shape[2] * row
        first = self.data.data_ptr() + (self.pad * row + self.pad * LANES) * FLOAT
        return ViewStruct(first, self.channels * channel, channel, row)

    @cached_property
    def extent(self) -> ExtentStruct:
        """What the kernels are given."""
        last = self.images - (self.data.shape[0] - 1) * LANES
        return ExtentStruct(self.data.shape[0], self.channels, self.height, self.width, last)

    @property
    def last_lanes(self) -> int:
        """Images in the last block."""
        return int(self.extent.last_lanes)


@dataclass(frozen=True, eq=False)
class Lists:
    """Kept weights by output channel: where the input pixel lies, and the place of the weight.

    Attributes:
        cuts: int32 (outs * parts + 1,): where each part of each output channel's list begins.
        parts: Of neighbouring input channels, whose pixels stay in the first cache while the lists pass.
        offsets: int32 (kept,): floats from the input pixel under an output pixel.
        index: int64 (kept,): element of the weights' storage.
        values: float32 (kept,): the weights, by ``gather``.
    """

    cuts: Tensor
    parts: int
    offsets: Tensor
    index: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        kept = int(self.cuts[-1])
        require(bool((self.cuts.diff() >= 0).all()) and int(self.cuts[0]) == 0, "lists that do not ascend")
        require(self.parts > 0 and (self.cuts.numel() - 1) % self.parts == 0, "lists that are cut unevenly")
        pointer(self.cuts, torch.int32, 1, "cuts")
        for tensor, dtype in ((self.offsets, torch.int32), (self.index, torch.int64), (self.values, torch.float32)):
            pointer(tensor, dtype, kept, "a list")

    @cached_property
    def outs(self) -> int:
        """Output channels."""
        return (self.cuts.numel() - 1) // self.parts

    @cached_property
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
    def struct(self) -> ListsStruct:
        """What the kernels are given."""
        return ListsStruct(self.cuts.data_ptr(), self.offsets.data_ptr(), self.values.data_ptr(), self.outs, self.parts)
