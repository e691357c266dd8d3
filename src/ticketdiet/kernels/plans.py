"""Which pixels a kept weight multiplies: the lists of one convolution under its mask, for one layout of its input.

Forward, output channel o has an entry per kept weight (o, c, i, j), at channel c and the pixel (i - padding,
j - padding) from the one under the output pixel. The gradient of the input at a pixel is a sum over the output pixels
that saw it: with a stride, those of one residue of the row and of the column, so there is one convolution on a part of
the transposed list for each residue.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.kernels.blocks import LANES, Blocks, Lists, require
from ticketdiet.kernels.calls import Calls, Step

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """Kernel sides, stride and zero padding of a convolution without groups or dilation, as (row, column)."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    @classmethod
    def of(cls, layer: nn.Conv2d) -> Geometry:
        """Read a layer's; its padding must be given in numbers."""
        kernel, stride, padding = ((int(pair[0]), int(pair[1])) for pair in _pairs(layer))
        return cls(kernel, stride, padding)

    def out_sides(self, height: int, width: int) -> Pair:
        """Sides of the output for an input of ``height`` and ``width``."""
        rows, columns = (
            (side + 2 * self.padding[axis] - self.kernel[axis]) // self.stride[axis] + 1
            for axis, side in enumerate((height, width))
        )
        return rows, columns

    @property
    def pad(self) -> int:
        """Border that the input needs."""
        return max(self.padding)

    def gradient_pad(self, height: int, width: int) -> int:
        """Border that the output's gradient needs, for an input of ``height`` and ``width``."""
        needed = 0
        for axis, (side, out) in enumerate(zip((height, width), self.out_sides(height, width), strict=True)):
            for residue, _, shift in self._seen(axis):
                count = _count(side, residue, self.stride[axis])
                needed = max(needed, -shift, (count - 1 + shift) - (out - 1)) if count else needed
        return needed

    def _seen(self, axis: int) -> list[tuple[int, int, int]]:
        """(residue, kernel row, shift): pixel residue + stride * t is seen by output pixel t + shift there."""
        stride, padding = self.stride[axis], self.padding[axis]
        return [
            (residue, tap, (residue + padding - tap) // stride)
            for residue in range(stride)
            for tap in range(self.kernel[axis])
            if (residue + padding - tap) % stride == 0
        ]

    def shifts(self, axis: int, residue: int) -> dict[int, int]:
        """Kernel row (or column) -> shift, for the pixels of ``residue``."""
        return {tap: shift for found, tap, shift in self._seen(axis) if found == residue}


def _pairs(layer: nn.Conv2d) -> tuple[tuple[int, ...], ...]:
    assert not isinstance(layer.padding, str)
    return layer.kernel_size, layer.stride, layer.padding


def _count(side: int, first: int, step: int) -> int:
    return max(0, -(-(side - first) // step))


class Plan:
    """The lists of one convolution, for inputs and gradients of one layout.

    Args:
        mask: (out, in, rows, columns) of 0 and 1.
        geometry: Of the convolution.
        strides: Of the weights' storage, in elements, one per dimension of ``mask``; all positive.
        source: An input as it will come; its border is at least ``geometry.pad`` wide.
        gradient: A gradient of the output as it will come; its border is at least ``geometry.gradient_pad`` wide.
    """

    def __init__(
        self, mask: Tensor, geometry: Geometry, strides: tuple[int, ...], source: Blocks, gradient: Blocks
    ) -> None:
        outs, ins = mask.shape[:2]
        require(tuple(mask.shape[2:]) == geometry.kernel, f"mask {tuple(mask.shape)} for {geometry}")
        require(source.channels == ins and gradient.channels == outs, f"mask {tuple(mask.shape)} for {source.shape}")
        require(source.pad >= geometry.pad, f"a border of {source.pad}, {geometry.pad} needed")
        height, width = source.height, source.width
        require((gradient.height, gradient.width) == geometry.out_sides(height, width), "a gradient of other sides")
        require(gradient.pad >= geometry.gradient_pad(height, width), "too narrow a border of the gradient")
        require(max(int(source.view.block), int(gradient.view.block)) < 2**31, "activations too large for the kernels")
        self.geometry, self.storage = geometry, 1 + sum((n - 1) * s for n, s in zip(mask.shape, strides, strict=True))
        kept = mask.detach().cpu().numpy().nonzero()
        index = np.zeros(len(kept[0]), dtype=np.int64)
        for place, stride in zip(kept, strides, strict=True):
            index += place * stride
        self._forward = _forward(kept, index, geometry, outs, source)
        self.step = Step(gradient.height, gradient.width, in_step=geometry.stride)
        self._backward = list(_backward(kept, index, geometry, ins, source, gradient))

    @property
    def kept(self) -> int:
        """Weights kept."""
        return self._forward.kept

    def flat(self, weights: Tensor) -> Tensor:
        """Look at the weights' storage as a flat tensor."""
        return weights.detach().as_strided((self.storage,), (1,))

    def forward(
        self,
        calls: Calls,
        weights: Tensor,
        source: Blocks,
        into: Blocks,
        *,
        bias: Tensor | None,
        moments: Tensor | None,
    ) -> None:
        """``into`` = convolution of ``source``; ``moments`` as ``Calls.convolve`` takes them."""
        calls.gather(self.flat(weights), self._forward)
        calls.convolve(into, source, self._forward, self.step, bias=bias, moments=moments)

    def weight_gradient(self, calls: Calls, gradient: Blocks, source: Blocks, weights: Tensor) -> Tensor:
        """Return the gradient of the kept weights, laid out like ``weights``; removed ones have 0."""
        found = torch.empty_strided(weights.shape, weights.stride())
        flat = found.as_strided((self.storage,), (1,)).zero_()
        calls.correlate(gradient, source, self._forward, self.step, flat)
        return found

    def input_gradient(
        self, calls: Calls, weights: Tensor, gradient: Blocks, into: Blocks, *, accumulate: bool = False
    ) -> None:
        """Write the gradient of the input to ``into``, or add it there."""
        for lists, step in self._backward:
            if lists.kept or not accumulate:
                calls.gather(self.flat(weights), lists)
                calls.convolve(into, gradient, lists, step, accumulate=accumulate)


def _forward(kept: tuple[np.ndarray, ...], index: np.ndarray, geometry: Geometry, outs: int, source: Blocks) -> Lists:
    o, c, i, j = kept
    offsets = _offsets(source, c, i - geometry.padding[0], j - geometry.padding[1])
    return _lists(o, offsets, index, outs)


def _backward(
    kept: tuple[np.ndarray, ...], index: np.ndarray, geometry: Geometry, ins: int, source: Blocks, gradient: Blocks
) -> list[tuple[Lists, Step]]:
    o, c, i, j = kept
    order = np.lexsort((j, i, o, c))
    found = []
    for first in product(range(geometry.stride[0]), range(geometry.stride[1])):
        sides = [_count(side, first[a], geometry.stride[a]) for a, side in enumerate((source.height, source.width))]
        if 0 in sides:
            continue
        rows, columns = geometry.shifts(0, first[0]), geometry.shifts(1, first[1])
        here = order[np.isin(i[order], list(rows)) & np.isin(j[order], list(columns))]
        up = np.array([rows[tap] for tap in i[here]], dtype=np.int64)
        left = np.array([columns[tap] for tap in j[here]], dtype=np.int64)
        lists = _lists(c[here], _offsets(gradient, o[here], up, left), index[here], ins)
        found.append((lists, Step(sides[0], sides[1], out_first=first, out_step=geometry.stride)))
    return found


def _offsets(blocks: Blocks, channel: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    view = blocks.view
    offsets: np.ndarray = channel * int(view.channel) + row * int(view.row) + column * LANES
    return offsets


def _lists(channel: np.ndarray, offsets: np.ndarray, index: np.ndarray, outs: int) -> Lists:
    """Make lists of entries that are sorted by ``channel``."""
    rows = np.zeros(outs + 1, dtype=np.int32)
    rows[1:] = np.bincount(channel, minlength=outs).cumsum()
    return Lists(
        torch.from_numpy(rows),
        torch.from_numpy(offsets.astype(np.int32)),
        torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64)),
        torch.empty(len(offsets)),
    )
