"""One convolution under its mask by itself, for inputs and gradients of one layout."""

from __future__ import annotations

import torch
from torch import Tensor

from ticketdiet.kernels.blocks import Blocks, require
from ticketdiet.kernels.calls import Calls, Step
from ticketdiet.kernels.geometry import Geometry, count_of
from ticketdiet.kernels.kept import Kept, Layout


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
        require(source.channels == mask.shape[1] and gradient.channels == mask.shape[0], f"{source.shape} for a mask")
        require(source.pad >= geometry.pad, f"a border of {source.pad}, {geometry.pad} needed")
        height, width = source.height, source.width
        require((gradient.height, gradient.width) == geometry.out_sides(height, width), "a gradient of other sides")
        require(gradient.pad >= geometry.gradient_pad(height, width), "too narrow a border of the gradient")
        require(max(int(source.view.block), int(gradient.view.block)) < 2**31, "activations too large for the kernels")
        self._weights = kept = Kept(mask, geometry, strides)
        self._forward = kept.forward(Layout.of(source))
        self.step = Step(gradient.height, gradient.width, in_step=geometry.stride)
        self._backward = []
        for first, lists in kept.backward(Layout.of(gradient)):
            rows, columns = (count_of(side, first[a], geometry.stride[a]) for a, side in enumerate((height, width)))
            if rows and columns:
                self._backward.append((lists, Step(rows, columns, out_first=first, out_step=geometry.stride)))

    def forward(self, calls: Calls, weights: Tensor, source: Blocks, into: Blocks, *, bias: Tensor | None) -> None:
        """``into`` = convolution of ``source``."""
        calls.gather(self._weights.flat(weights), self._forward)
        calls.convolve(into, source, self._forward, self.step, bias=bias)

    def weight_gradient(self, calls: Calls, gradient: Blocks, source: Blocks, weights: Tensor) -> Tensor:
        """Return the gradient of the kept weights, laid out like ``weights``; removed ones have 0."""
        found = torch.empty_strided(weights.shape, weights.stride())
        flat = self._weights.flat(found).zero_()
        calls.correlate(gradient, source, self._forward, self.step, flat)
        return found

    def input_gradient(self, calls: Calls, weights: Tensor, gradient: Blocks, into: Blocks) -> None:
        """Write the gradient of the input to ``into``."""
        for lists, step in self._backward:
            calls.gather(self._weights.flat(weights), lists)
            calls.convolve(into, gradient, lists, step)
