"""Bands: the rows of a plane that a phase works on at a time, so that what it makes stays in a core's cache.

A phase reads its input from memory once, band by band, and keeps what it makes of it in scratch memory. A band of
output rows needs some rows of the input besides those under it, and some of the output's gradient. They are made
again for each band, which is cheaper than to write them to memory and to read them. How many rows a band has follows
from the shapes alone, because sums are taken by band.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticketdiet.kernels.blocks import FLOAT, LANES
from ticketdiet.kernels.geometry import Geometry

# Bytes of a band in scratch memory, where at least FEWEST rows fit: about a second cache. Whole planes of 8x8 pixels
# and 64 channels fit, forward and backward.
SCRATCH = 9 * 2**17
FEWEST = 4
TILE = 16  # pixels of the largest tile

Rows = tuple[int, int]  # first, and one past the last


@dataclass(frozen=True)
class Band:
    """Rows of one band; those of input and gradient may lie outside the images, where there is 0.

    Attributes:
        out: Of the output.
        source: Of the input that are needed.
        own: Of the input that belong to this band alone.
        gradient: Of the output's gradient that are needed for the gradient of the input's ``own`` and of the weights.
    """

    out: Rows
    source: Rows
    own: Rows
    gradient: Rows


def bands(geometry: Geometry, sides: tuple[int, int], rows: int) -> tuple[Band, ...]:
    """Cut a plane of (height, width) ``sides`` into bands of ``rows`` output rows; the last band may be lower."""
    stride, kernel, padding = geometry.stride[0], geometry.kernel[0], geometry.padding[0]
    height, outs = sides[0], geometry.out_sides(*sides)[0]
    found = []
    for first in range(0, outs, rows):
        end = min(outs, first + rows)
        own = first * stride, height if end == outs else min(height, end * stride)
        source = min(first * stride - padding, own[0]), max((end - 1) * stride - padding + kernel, own[1])
        seen = -((kernel - 1 - padding - own[0]) // stride), (own[1] - 1 + padding) // stride + 1
        found.append(Band((first, end), source, own, (min(seen[0], first), max(seen[1], end))))
    return tuple(found)


def rows_that_fit(geometry: Geometry, channels: tuple[int, int], sides: tuple[int, int], *, backward: bool) -> int:
    """Choose the rows of a band's output for a convolution of (in, out) ``channels`` on planes of ``sides``."""
    outs, columns = geometry.out_sides(*sides)
    step = max(1, TILE // columns)  # rows of one tile
    for count in range(1, outs + 1):
        rows = _rounded(-(-outs // count), step, outs)
        highest = bands(geometry, sides, rows)
        size = channels[0] * most(highest, "source") * (sides[1] + 2 * geometry.pad)
        if backward:
            size += channels[1] * most(highest, "gradient") * (columns + 2 * geometry.gradient_pad(*sides))
            size += channels[0] * most(highest, "own") * sides[1]
        if size * LANES * FLOAT <= SCRATCH or rows <= max(FEWEST, step):
            return rows
    return outs


def most(found: tuple[Band, ...], which: str) -> int:
    """Count the rows of the highest band in ``which``."""
    rows: list[Rows] = [getattr(band, which) for band in found]
    return max(end - first for first, end in rows)


def _rounded(rows: int, step: int, outs: int) -> int:
    return min(outs, -(-rows // step) * step)
