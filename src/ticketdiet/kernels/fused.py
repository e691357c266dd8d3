"""A built-in ResNet's pass in the kernels' layout, from the first convolution to the pooling, as a function of torch.

The module itself is left as it is: its parameters are read and its running statistics moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.resnet_pass import Block, ResNetPass, Shape, Unit, Way
from ticketdiet.models.resnet import BasicBlock, Bottleneck, ResNet


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


class FusedResNet:
    """The pass of a built-in ResNet under a mask, in training and in eval mode.

    Args:
        model: For which ``why_not_fused`` has no objection; it must outlive this object.
        mask: Name of parameter -> tensor of 0 and 1; a convolution without one is dense.
        calls: The kernels.
        gradients: Name of parameter -> where its gradient is added, laid out like the parameter; default is through
            autograd.
    """

    def __init__(
        self,
        model: ResNet,
        mask: Mapping[str, Tensor],
        calls: Calls,
        gradients: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model, self.calls = model, calls
        names = {module: name for name, module in model.named_modules()}
        self.units = [Unit(conv, norm, mask.get(f"{names[conv]}.weight")) for conv, norm in _pairs(model)]
        units = iter(self.units)
        self._stem = next(units)
        self._blocks = tuple(
            Block(tuple(next(units) for _ in _main(block)), next(units) if block.shortcut is not None else None)
            for block in model.blocks
        )
        self._parameters = [parameter for unit in self.units for parameter in unit.parameters]
        named = dict(model.named_parameters())
        self._gradients = {named[name]: gradient for name, gradient in (gradients or {}).items()}
        self._direct = all(parameter in self._gradients for parameter in self._parameters)
        self._modules = list(model.modules())
        self._prepared: tuple[tuple[Shape, Way], ResNetPass] | None = None
        self._round = 0

    def way(self, inputs: Tensor) -> Way | None:
        """Say how this very pass can be done, or None: nobody listening, images and modes as expected."""
        heard = any(
            m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
            for m in self._modules
        )
        known = (inputs.dim(), inputs.dtype, inputs.device.type) == (4, torch.float32, "cpu")
        if heard or not known or inputs.shape[0] == 0 or inputs.shape[1] != self._stem.conv.in_channels:
            return None
        norms = [unit.norm.module for unit in self.units]
        if any(norm.running_mean is None for norm in norms):
            return None
        if torch.is_grad_enabled():
            trains = all(module.training for module in self._modules) and inputs.shape[0] > 1
            return "train" if trains and not inputs.requires_grad else None
        if all(norm.training for norm in norms):
            return "statistics" if inputs.shape[0] > 1 else None
        return None if any(norm.training for norm in norms) else "evaluate"

    def __call__(self, inputs: Tensor, way: Way) -> Tensor:
        """Map images to logits, as the model does; ``way`` is what ``way`` said of them."""
        if way == "train":
            # One parameter is enough for autograd to come back when the gradients do not go through it.
            given = self._parameters[:1] if self._direct else self._parameters
            features: Tensor = _Body.apply(self, inputs, *given)
        else:
            features, _ = self.forward(inputs, way)
        logits: Tensor = self.model.fc(features)
        return logits

    def forward(self, inputs: Tensor, way: Way) -> tuple[Tensor, int]:
        """Return the pooled features (images, channels), and which round of the memory they belong to."""
        images, channels, height, width = inputs.shape
        key = (images, channels, height, width), way
        self._round += 1
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = None  # its memory is free before the next is made
            self._prepared = key, ResNetPass(self.calls, self._stem, self._blocks, key[0], way)
        return self._prepared[1].forward(inputs), self._round

    def backward(self, gradient: Tensor, round_: int) -> Sequence[Tensor | None]:
        """Return the gradients of the parameters that were given to autograd; None where they are added already."""
        if round_ != self._round or self._prepared is None:
            raise RuntimeError("the backward pass of a network in sparse kernels has to follow its own forward pass")
        if self._direct:
            self._prepared[1].backward(gradient, self._gradients)
            return [None]
        found = {parameter: torch.zeros_like(parameter) for parameter in self._parameters}
        self._prepared[1].backward(gradient, found)
        return list(found.values())


class _Body(torch.autograd.Function):
    """From images to pooled features."""

    @staticmethod
    def forward(ctx: Any, fused: FusedResNet, inputs: Tensor, *parameters: Tensor) -> Tensor:
        del parameters
        features, ctx.round = fused.forward(inputs, "train")
        ctx.fused = fused
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found: Sequence[Tensor | None] = ctx.fused.backward(gradient, ctx.round)
        needed = ctx.needs_input_grad[2:]
        return None, None, *(one if need else None for one, need in zip(found, needed, strict=True))
