"""The door to the compiled kernels: what is passed is checked here, before any pointer is."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ticketdiet.kernels.blocks import (
    FLOAT,
    LANES,
    SIZE,
    Blocks,
    GridStruct,
    Lists,
    Refused,
    pointer,
    require,
)


@dataclass(frozen=True)
class Step:
    """How output pixels lie over input pixels, both counted without their borders.

    Output pixel (out_first + y * out_step) lies over input pixel (y * in_step), for y below ``height``, and likewise
    for x. Pairs are (row, column).
    """

    height: int
    width: int
    out_first: tuple[int, int] = (0, 0)
    out_step: tuple[int, int] = (1, 1)
    in_step: tuple[int, int] = (1, 1)


class Calls:
    """The kernels of one library, with ``threads`` threads."""

    def __init__(self, library: ctypes.CDLL, threads: int = 1) -> None:
        self.library, self.threads = library, threads

    def gather(self, weights: Tensor, lists: Lists) -> None:
        """Read the values of ``lists`` from ``weights``, the weights' storage as a flat float32 tensor."""
        start = pointer(weights, torch.float32, lists.most + 1, "weights")
        self.library.td_gather(
            ctypes.c_void_p(start),
            ctypes.c_void_p(lists.index.data_ptr()),
            SIZE(lists.kept),
            ctypes.c_void_p(lists.values.data_ptr()),
        )

    def convolve(self, into: Blocks, source: Blocks, lists: Lists, step: Step, *, bias: Tensor | None = None) -> None:
        """Write the sums over ``lists`` at every pixel of ``step``."""
        grid = _grid(into, source, lists, step)
        self.library.td_convolve(
            ctypes.byref(grid),
            ctypes.byref(lists.struct),
            ctypes.c_void_p(None if bias is None else pointer(bias, torch.float32, lists.outs, "bias")),
            SIZE(self.threads),
        )

    def correlate(self, gradient: Blocks, source: Blocks, lists: Lists, step: Step, into: Tensor) -> None:
        """Write the gradients of the kept weights into ``into``, the gradient's storage as a flat float32 tensor."""
        grid = _grid(gradient, source, lists, step)
        start = pointer(into, torch.float32, lists.most + 1, "gradient of the weights")
        partial = torch.empty(source.data.shape[0] * lists.kept)
        self.library.td_correlate(
            ctypes.byref(grid),
            ctypes.byref(lists.struct),
            ctypes.c_void_p(lists.index.data_ptr()),
            ctypes.c_void_p(partial.data_ptr()),
            ctypes.c_void_p(start),
            SIZE(self.threads),
        )

    def enter(self, images: Tensor, into: Blocks) -> None:
        """Bring (images, channels, height, width), of any strides, into the layout."""
        self.library.td_enter(
            ctypes.byref(into.extent), *_stock(images, into), ctypes.byref(into.view), SIZE(self.threads)
        )

    def leave(self, source: Blocks, images: Tensor) -> None:
        """Bring activations back to (images, channels, height, width), of any strides."""
        self.library.td_leave(
            ctypes.byref(source.extent), ctypes.byref(source.view), *_stock(images, source), SIZE(self.threads)
        )


def _stock(images: Tensor, blocks: Blocks) -> tuple[ctypes.c_void_p, ctypes.Array]:
    require(images.dtype == torch.float32 and images.device.type == "cpu", "images have to be float32 on the CPU")
    require(tuple(images.shape) == blocks.shape, f"images of shape {tuple(images.shape)} for {blocks.shape}")
    strides: Sequence[int] = images.stride()
    return ctypes.c_void_p(images.data_ptr()), (SIZE * 4)(*strides)


def _grid(into: Blocks, source: Blocks, lists: Lists, step: Step) -> GridStruct:
    """Lay output over input; refuse whatever would reach outside either."""
    if into.images != source.images or lists.outs != into.channels:
        raise Refused(f"lists for {lists.outs} channels and {source.shape}, for an output of {into.shape}")
    rows, columns = step.height - 1, step.width - 1
    if min(rows, columns, *step.out_first) < 0 or min(*step.out_step, *step.in_step) < 1:
        raise Refused(f"an empty grid: {step}")
    below, right = step.out_first[0] + rows * step.out_step[0], step.out_first[1] + columns * step.out_step[1]
    if below >= into.height or right >= into.width:
        raise Refused(f"{step} leaves the output {into.shape}")
    out, inn = into.view, source.view
    # One block of the input is contiguous; its first float is the corner of the border.
    near = source.pad * inn.row + source.pad * LANES
    far = near + rows * step.in_step[0] * inn.row + columns * step.in_step[1] * LANES
    least, most = lists.span
    if lists.kept and (near + least < 0 or far + most + LANES > inn.block):
        raise Refused(f"{step} leaves the input {source.shape}")
    return GridStruct(
        out.data + (step.out_first[0] * out.row + step.out_first[1] * LANES) * FLOAT,
        inn.data,
        *(source.data.shape[0], step.height, step.width),
        *(out.block, out.channel, out.row * step.out_step[0], LANES * step.out_step[1]),
        *(inn.block, inn.row * step.in_step[0], LANES * step.in_step[1]),
    )
