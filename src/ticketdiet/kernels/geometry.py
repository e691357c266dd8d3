"""Kernel, stride and padding of a convolution: which output pixels see which input pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

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
                count = count_of(side, residue, self.stride[axis])
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


def count_of(side: int, first: int, step: int) -> int:
    """Count the numbers first, first + step, ... below ``side``."""
    return max(0, -(-(side - first) // step))
