"""Single layers by the sparse kernels: ``Conv2d`` and ``Linear`` under a fixed mask, in any network.

Input and output have torch's own layout; the way into the kernels' layout and out of it is part of the layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ticketdiet.kernels.blocks import LANES, Blocks
from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.geometry import Geometry
from ticketdiet.kernels.plans import Plan


def why_not_sparse(layer: nn.Module) -> str:
    """Return why a layer cannot be done by the sparse kernels, or nothing when it can."""
    if "forward" in layer.__dict__:
        return "a forward of its own"
    if type(layer) is nn.Linear:
        return ""
    if type(layer) is not nn.Conv2d:
        return "neither Conv2d nor Linear"
    if layer.groups != 1:
        return "groups"
    if layer.dilation != (1, 1):
        return "dilation"
    if layer.padding_mode != "zeros":
        return f"padding mode {layer.padding_mode}"
    return "padding in words" if isinstance(layer.padding, str) else ""


class SparseLayer:
    """The forward function of a layer under a mask.

    Args:
        layer: A ``Conv2d`` or ``Linear`` for which ``why_not_sparse`` has no objection.
        mask: Of its weight: 0 for removed, 1 for kept.
        calls: The kernels.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, mask: Tensor, calls: Calls) -> None:
        self.layer, self.calls = layer, calls
        self._geometry = Geometry((1, 1)) if isinstance(layer, nn.Linear) else Geometry.of(layer)
        self._mask = mask[:, :, None, None] if isinstance(layer, nn.Linear) else mask
        self._plans: dict[tuple[int, ...], Plan] = {}

    def takes(self, inputs: Tensor) -> bool:
        """Say whether the kernels can do these inputs; the layer's own forward does the others."""
        known = inputs.dtype == torch.float32 and inputs.device.type == "cpu" and inputs.numel() > 0
        if isinstance(self.layer, nn.Linear):
            return known and inputs.dim() >= 1 and inputs.shape[-1] == self.layer.in_features
        if not known or inputs.dim() != 4 or inputs.shape[1] != self.layer.in_channels:
            return False
        return min(self._geometry.out_sides(inputs.shape[2], inputs.shape[3])) > 0

    def __call__(self, inputs: Tensor) -> Tensor:
        """Do what the layer's ``forward`` does, on inputs that ``takes`` accepts."""
        weight, bias = self.layer.weight, self.layer.bias
        if isinstance(self.layer, nn.Conv2d):
            result: Tensor = _Convolution.apply(inputs, weight, bias, self)
            return result
        # A linear layer is a 1x1 convolution of sixteen "images" of one row: example 16 x + i is pixel x of image i.
        flat = inputs.reshape(-1, inputs.shape[-1])
        count = flat.shape[0]
        wide = -(-count // LANES)
        images = F.pad(flat, (0, 0, 0, wide * LANES - count)).view(wide, LANES, -1).permute(1, 2, 0)[:, :, None]
        found: Tensor = _Convolution.apply(images, weight[:, :, None, None], bias, self)
        return found[:, :, 0].permute(2, 0, 1).reshape(wide * LANES, -1)[:count].view(*inputs.shape[:-1], -1)

    def plan(self, weight: Tensor, source: Blocks, gradient: Blocks) -> Plan:
        """Return the lists for inputs of this size, made once."""
        key = (*source.shape[1:], *weight.stride())
        if key not in self._plans:
            self._plans[key] = Plan(self._mask, self._geometry, weight.stride(), source, gradient)
        return self._plans[key]

    def source(self, inputs: Tensor) -> Blocks:
        """Bring inputs into the layout."""
        images, channels, height, width = inputs.shape
        source = Blocks.bordered(images, channels, height, width, self._geometry.pad)
        self.calls.enter(inputs.detach(), source)
        return source

    def gradient(self, source: Blocks) -> Blocks:
        """Return an output's gradient, to be written."""
        outs, sides = self._mask.shape[0], self._geometry.out_sides(source.height, source.width)
        return Blocks.bordered(source.images, outs, *sides, self._geometry.gradient_pad(source.height, source.width))


class _Convolution(torch.autograd.Function):
    """One convolution under a mask."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, layer: SparseLayer) -> Tensor:
        source = layer.source(inputs)
        out = layer.gradient(source)
        plan = layer.plan(weight, source, out)
        plan.forward(layer.calls, weight, source, out, bias=None if bias is None else bias.detach())
        result = inputs.new_empty(out.shape)
        layer.calls.leave(out, result)
        ctx.save_for_backward(weight)
        ctx.layer, ctx.source, ctx.plan, ctx.shape = layer, source, plan, inputs.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layer, source, plan = ctx.layer, ctx.source, ctx.plan
        (weight,) = ctx.saved_tensors
        of_inputs = of_weight = None
        blocks = layer.gradient(source)
        layer.calls.enter(gradient, blocks)
        if ctx.needs_input_grad[1]:
            of_weight = plan.weight_gradient(layer.calls, blocks, source, weight)
        if ctx.needs_input_grad[0]:
            into = Blocks.bordered(*source.shape)
            plan.input_gradient(layer.calls, weight, blocks, into)
            of_inputs = gradient.new_empty(ctx.shape)
            layer.calls.leave(into, of_inputs)
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_inputs, of_weight, of_bias, None
