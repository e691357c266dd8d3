"""A built-in ResNet's training pass in the kernels' layout, from the first convolution to the pooling.

Between two convolutions lies one pass forward (BatchNorm, shortcut, ReLU) and two backward, as BatchNorm's gradient
needs two sums before it can be written; the statistics are measured while the convolution writes. Activations that the
backward pass needs have buffers of their own, which the next step uses again, so nothing is allocated and borders stay
zero. The module itself is left as it is: its parameters are read and its running statistics moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ticketdiet.kernels.blocks import Blocks, norm_struct
from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.plans import Geometry, Plan
from ticketdiet.models.resnet import BasicBlock, Bottleneck, ResNet

Shape = tuple[int, int, int, int]


def why_not_fused(model: nn.Module) -> str:
    """Return why ``model`` cannot take this path, or nothing when it can."""
    if type(model) is not ResNet:
        return f"{type(model).__name__} is not a built-in ResNet"
    if any("forward" in module.__dict__ for module in model.modules()):
        return "a module has a forward of its own"
    if any(type(block) not in (BasicBlock, Bottleneck) for block in model.blocks):
        return "its blocks are not the built-in ones"
    if any(conv.groups != 1 or conv.dilation != (1, 1) or conv.bias is not None for conv, _ in _pairs(model)):
        return "a convolution has groups, dilation or a bias"
    if not all(norm.affine and norm.track_running_stats for _, norm in _pairs(model)):
        return "a BatchNorm has no parameters or no running statistics"
    return (
        ""
        if all(type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d for conv, norm in _pairs(model))
        else ("a layer has another class")
    )


def _pairs(model: ResNet) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Yield each convolution with its BatchNorm, in the order of ``FusedResNet.units``."""
    yield model.conv, model.bn
    for block in model.blocks:
        yield from _main(block)
        if isinstance(block.shortcut, nn.Sequential):
            conv, norm = block.shortcut
            yield conv, norm  # type: ignore[misc]


def _main(block: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    names = "123" if isinstance(block, Bottleneck) else "12"
    return [(getattr(block, f"conv{name}"), getattr(block, f"bn{name}")) for name in names]


class _Buffers:
    """Activations of one batch shape; those of gradients are shared by all layers of one shape and purpose."""

    def __init__(self, pad: int) -> None:
        self.pad = pad
        self._shared: dict[tuple[str, Shape], Blocks] = {}

    def new(self, shape: Shape, pad: int | None = None) -> Blocks:
        return Blocks.zeros(*shape, pad=self.pad if pad is None else pad)

    def shared(self, purpose: str, shape: Shape) -> Blocks:
        key = purpose, shape
        if key not in self._shared:
            self._shared[key] = self.new(shape)
        return self._shared[key]


class _Unit:
    """A convolution and the BatchNorm after it."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, mask: Tensor | None) -> None:
        self.conv, self.norm, self._mask = conv, norm, mask
        self.geometry = Geometry.of(conv)
        self._struct: Any = None
        self._addresses: tuple[int, ...] = ()

    def prepare(self, calls: Calls, buffers: _Buffers, source: Blocks) -> Blocks:
        """Make buffers and lists for inputs like ``source``; return the output's buffer."""
        shape = (source.images, self.conv.out_channels, *self.geometry.out_sides(source.height, source.width))
        self.source, self.pre, self.out = source, buffers.new(shape, 0), buffers.new(shape)
        self.pre_gradient = buffers.shared("pre", shape)
        weight = self.conv.weight
        mask = self._mask if self._mask is not None else torch.ones(weight.shape)
        self.plan = Plan(mask, self.geometry, weight.stride(), source, self.pre_gradient)
        pieces = calls.pieces(source, self.plan.step)
        self.moments = torch.empty((pieces, shape[1], 3), dtype=torch.float64)
        self._statistics = torch.empty(2, shape[1])
        self._addresses = ()
        return self.out

    def forward(self, calls: Calls, residual: Blocks | None, *, relu: bool) -> Blocks:
        """Convolve ``source``, normalise, add and cut."""
        norm = self.norm
        self.plan.forward(calls, self.conv.weight, self.source, self.pre, bias=None, moments=self.moments)
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        calls.norm_statistics(self._norm(), self.moments, norm.num_features)
        calls.norm_forward(self._norm(), self.pre, residual, self.out, relu=relu)
        return self.out

    def backward(
        self, calls: Calls, gradient: Blocks, into: Blocks | None, *, relu: bool, keep: bool, accumulate: bool = False
    ) -> list[Tensor]:
        """Return the gradients of the three parameters; write (or add) the input's into ``into``.

        ``gradient`` is the output's; it is cut by the ReLU in place, and overwritten unless it is to be kept.
        """
        pre = self.pre_gradient if keep else gradient
        by_norm = torch.empty(2, self.norm.num_features)
        calls.norm_backward(self._norm(), gradient, self.out if relu else None, self.pre, pre, by_norm[0], by_norm[1])
        by_weight = self.plan.weight_gradient(calls, pre, self.source, self.conv.weight)
        if into is not None:
            self.plan.input_gradient(calls, self.conv.weight, pre, into, accumulate=accumulate)
        return [by_weight, by_norm[0], by_norm[1]]

    def _norm(self) -> Any:
        norm = self.norm
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None
        assert var is not None
        addresses = norm.weight.data_ptr(), norm.bias.data_ptr(), mean.data_ptr(), var.data_ptr()
        if addresses != self._addresses:
            weight, bias = norm.weight.detach(), norm.bias.detach()
            self._struct = norm_struct(weight, bias, mean, var, self._statistics, norm.eps, 0.0)
            self._addresses = addresses
        momentum = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked or 1)
        self._struct.momentum = momentum
        return self._struct

    @property
    def parameters(self) -> list[Tensor]:
        """Weight of the convolution, weight and bias of BatchNorm."""
        return [self.conv.weight, self.norm.weight, self.norm.bias]


class FusedResNet:
    """The training pass of a built-in ResNet under a mask.

    Args:
        model: For which ``why_not_fused`` has no objection; it must outlive this object.
        mask: Name of parameter -> tensor of 0 and 1; a convolution without one is dense.
        calls: The kernels.
    """

    def __init__(self, model: ResNet, mask: Mapping[str, Tensor], calls: Calls) -> None:
        self.model, self.calls = model, calls
        names = {module: name for name, module in model.named_modules()}
        units = [_Unit(conv, norm, mask.get(f"{names[conv]}.weight")) for conv, norm in _pairs(model)]
        self.units = units
        self.stem, position = units[0], 1
        self.blocks: list[tuple[list[_Unit], _Unit | None]] = []
        for block in model.blocks:
            count = len(_main(block))
            main, position = units[position : position + count], position + count
            shortcut, position = (None, position) if block.shortcut is None else (units[position], position + 1)
            self.blocks.append((main, shortcut))
        self._shape: Shape | None = None
        self._round = 0

    def takes(self, inputs: Tensor) -> bool:
        """Say whether this very pass can be done: all in training, nobody listening, images as expected."""
        modules = list(self.model.modules())
        heard = any(
            m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in modules
        )
        return (
            not heard
            and all(module.training for module in modules)
            and torch.is_grad_enabled()
            and not inputs.requires_grad
            and (inputs.dim(), inputs.dtype, inputs.device.type) == (4, torch.float32, "cpu")
            and inputs.shape[0] > 1
            and inputs.shape[1] == self.stem.conv.in_channels
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map images to logits, as the model does."""
        parameters = [parameter for unit in self.units for parameter in unit.parameters]
        features: Tensor = _Body.apply(self, inputs, *parameters)
        logits: Tensor = self.model.fc(features)
        return logits

    def _prepare(self, shape: Shape) -> None:
        if self._shape == shape:
            return
        self._buffers = _Buffers(self._pad(shape))
        self._images = self._buffers.new(shape)
        out = self.stem.prepare(self.calls, self._buffers, self._images)
        for main, shortcut in self.blocks:
            entered = out
            for unit in main:
                out = unit.prepare(self.calls, self._buffers, out)
            if shortcut is not None:
                shortcut.prepare(self.calls, self._buffers, entered)
        self._shape = shape

    def _pad(self, shape: Shape) -> int:
        """Return the border that suits every layer, forward and backward."""
        pad, sides = 0, shape[2:]

        def take(unit: _Unit, sides: tuple[int, int]) -> tuple[int, int]:
            nonlocal pad
            pad = max(pad, unit.geometry.pad, unit.geometry.gradient_pad(*sides))
            return unit.geometry.out_sides(*sides)

        sides = take(self.stem, (sides[0], sides[1]))
        for main, shortcut in self.blocks:
            if shortcut is not None:
                take(shortcut, sides)
            for unit in main:
                sides = take(unit, sides)
        return pad

    def forward(self, inputs: Tensor) -> tuple[Tensor, int]:
        """Return the pooled features (images, channels), and which round of the buffers they belong to."""
        images, channels, height, width = inputs.shape
        self._prepare((images, channels, height, width))
        self._round += 1
        self.calls.enter(inputs.detach(), self._images)
        out = self.stem.forward(self.calls, None, relu=True)
        for main, shortcut in self.blocks:
            residual = out if shortcut is None else shortcut.forward(self.calls, None, relu=False)
            for unit in main[:-1]:
                unit.forward(self.calls, None, relu=True)
            out = main[-1].forward(self.calls, residual, relu=True)
        features = torch.empty(images, out.channels)
        self.calls.pool(out, features)
        return features, self._round

    def backward(self, features_gradient: Tensor, round_: int) -> list[Tensor]:
        """Return the gradients of all units' parameters, in the order of ``units``."""
        if round_ != self._round:
            raise RuntimeError("the backward pass of a network in sparse kernels has to follow its own forward pass")
        calls, buffers = self.calls, self._buffers
        found: dict[_Unit, list[Tensor]] = {}
        gradient = buffers.shared("out", self.blocks[-1][0][-1].out.shape)
        calls.unpool(features_gradient.contiguous(), gradient)
        for main, shortcut in reversed(self.blocks):
            into = buffers.shared("inner", main[-1].source.shape)
            found[main[-1]] = main[-1].backward(calls, gradient, into, relu=True, keep=True)
            for unit in reversed(main[1:-1]):
                inner, into = into, buffers.shared("inner", unit.source.shape)
                found[unit] = unit.backward(calls, inner, into, relu=True, keep=into is inner)
            if shortcut is not None:
                entered = buffers.shared("out", shortcut.source.shape)
                # The ReLU has cut this gradient already.
                found[shortcut] = shortcut.backward(calls, gradient, entered, relu=False, keep=entered is gradient)
                gradient = entered
            found[main[0]] = main[0].backward(calls, into, gradient, relu=True, keep=False, accumulate=True)
        found[self.stem] = self.stem.backward(calls, gradient, None, relu=True, keep=False)
        return [one for unit in self.units for one in found[unit]]


class _Body(torch.autograd.Function):
    """From images to pooled features."""

    @staticmethod
    def forward(ctx: Any, fused: FusedResNet, inputs: Tensor, *parameters: Tensor) -> Tensor:
        del parameters
        features, ctx.round = fused.forward(inputs)
        ctx.fused = fused
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found: Sequence[Tensor] = ctx.fused.backward(gradient, ctx.round)
        needed = ctx.needs_input_grad[2:]
        return None, None, *(one if need else None for one, need in zip(found, needed, strict=True))
