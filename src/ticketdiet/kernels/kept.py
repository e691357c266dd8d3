"""The kept weights of a convolution as lists: which pixels each of them multiplies, for one layout of activations.

Forward, output channel o has an entry per kept weight (o, c, i, j), at channel c and the pixel (i - padding,
j - padding) from the one under the output pixel. The gradient of the input at a pixel is a sum over the output pixels
that saw it: with a stride, those of one residue of the row and of the column, so there is one convolution on a part of
the transposed list for each residue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ticketdiet.kernels.blocks import LANES, Blocks, Lists, require
from ticketdiet.kernels.geometry import Geometry, Pair

CHANNELS = 12  # input channels of a part of a list, at most: their pixels under a tile fit the first cache (measured)
ENTRIES = 16  # of a part, on average, at least: fewer are not worth reading and writing the tile once more


@dataclass(frozen=True)
class Layout:
    """Where a pixel lies: floats from one channel to the next, and from one row to the next."""

    channel: int
    row: int

    @classmethod
    def of(cls, blocks: Blocks) -> Layout:
        """Read that of activations."""
        return cls(int(blocks.view.channel), int(blocks.view.row))


class Kept:
    """The kept weights of one convolution, from which its lists are made.

    Args:
        mask: (out, in, rows, columns) of 0 and 1.
        geometry: Of the convolution.
        strides: Of the weights' storage, in elements, one per dimension of ``mask``; all positive.

    Attributes:
        storage: Elements of the weights' storage.
    """

    def __init__(self, mask: Tensor, geometry: Geometry, strides: tuple[int, ...]) -> None:
        require(tuple(mask.shape[2:]) == geometry.kernel, f"mask {tuple(mask.shape)} for {geometry}")
        self.geometry, self.outs, self.ins = geometry, mask.shape[0], mask.shape[1]
        self.storage = 1 + sum((n - 1) * s for n, s in zip(mask.shape, strides, strict=True))
        self._places = mask.detach().cpu().numpy().nonzero()
        self._index = np.zeros(len(self._places[0]), dtype=np.int64)
        for place, stride in zip(self._places, strides, strict=True):
            self._index += place * stride

    def flat(self, weights: Tensor) -> Tensor:
        """Look at the weights' storage as a flat tensor."""
        return weights.detach().as_strided((self.storage,), (1,))

    def forward(self, source: Layout) -> Lists:
        """Make the list of every output channel, for an input in ``source``."""
        o, c, i, j = self._places
        padding = self.geometry.padding
        offsets = _offsets(source, c, i - padding[0], j - padding[1])
        return _lists((self.outs, self.ins), (o, c), offsets, self._index)

    def backward(self, gradient: Layout) -> Iterator[tuple[Pair, Lists]]:
        """Yield residues of the input's pixels, and the lists of their gradient, for a ``gradient`` of the output."""
        o, c, i, j = self._places
        order = np.lexsort((j, i, o, c))
        for first in product(range(self.geometry.stride[0]), range(self.geometry.stride[1])):
            rows, columns = self.geometry.shifts(0, first[0]), self.geometry.shifts(1, first[1])
            here = order[np.isin(i[order], list(rows)) & np.isin(j[order], list(columns))]
            up = np.array([rows[tap] for tap in i[here]], dtype=np.int64)
            left = np.array([columns[tap] for tap in j[here]], dtype=np.int64)
            offsets = _offsets(gradient, o[here], up, left)
            yield first, _lists((self.ins, self.outs), (c[here], o[here]), offsets, self._index[here])


def _offsets(layout: Layout, channel: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    offsets: np.ndarray = channel * layout.channel + row * layout.row + column * LANES
    return offsets


def _lists(sizes: Pair, channels: tuple[np.ndarray, np.ndarray], offsets: np.ndarray, index: np.ndarray) -> Lists:
    """Make lists for (outs, ins) ``sizes``, of entries sorted by the (out, in) ``channels``."""
    (outs, ins), (out, source) = sizes, channels
    parts = max(1, min(-(-ins // CHANNELS), len(out) // (outs * ENTRIES)))
    part = source * parts // ins
    cuts = np.zeros(outs * parts + 1, dtype=np.int32)
    cuts[1:] = np.bincount(out * parts + part, minlength=outs * parts).cumsum()
    return Lists(
        torch.from_numpy(cuts),
        parts,
        torch.from_numpy(offsets.astype(np.int32)),
        torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64)),
        torch.empty(len(offsets)),
    )
