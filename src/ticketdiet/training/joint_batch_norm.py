"""BatchNorm in training whose statistics are those of the whole batch over several ranks, or of ghost batches.

By default BatchNorm normalises by the statistics of the batch, wherever its slices are: with several ranks their means
and variances are put together in every layer (synchronised BatchNorm), so that the number of devices does not change
what is computed. With ghost batches (Hoffer et al. 2017, arXiv 1705.08741) each part of the batch is normalised by its
own statistics. That is what devices which do not talk to each other in BatchNorm do, but it is the same on one device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ticketdiet.core.errors import UserError
from ticketdiet.training.distributed import Ranks


class JointBatchNorm:
    """Lets the BatchNorm layers of a network in training normalise over other examples than those they are given.

    Args:
        model: The network; it is not changed.
        ranks: Who shares the batch.
        ghost: Examples per ghost batch, or None for statistics of the whole batch.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, ghost: int | None) -> None:
        self._ranks, self._ghost = ranks, ghost
        self._layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._idle = not self._layers or (ghost is None and ranks.count == 1)

    @property
    def why_not_fused(self) -> str:
        """Why no kernel may compute these layers in its own way; empty when they are as they stand."""
        if self._idle:
            return ""
        return "ghost batches" if self._ghost is not None else "synchronised BatchNorm"

    def __call__(self, examples: int) -> AbstractContextManager[object]:
        """Return the context of a forward pass in training of so many examples, this rank's slice of the batch.

        Raises:
            UserError: When ghost batches do not divide the slice.
        """
        if self._ghost is not None and examples % self._ghost:
            raise UserError(
                f"Ghost batches of {self._ghost} examples do not divide the {examples} examples of a device.",
                expected="a training.ghost_batch_size that divides training.batch_size over the devices per stage",
                way_out="give fewer devices per stage, or another ghost_batch_size",
            )
        return nullcontext() if self._idle else self._swapped()

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        before = [(layer, layer.__dict__.get("forward")) for layer in self._layers]
        for layer in self._layers:
            layer.__dict__["forward"] = self._forward_of(layer)
        try:
            yield
        finally:
            for layer, own in before:
                del layer.__dict__["forward"]
                if own is not None:
                    layer.__dict__["forward"] = own
        self._even_out()

    def _forward_of(self, layer: _BatchNorm) -> Callable[[Tensor], Tensor]:
        stock = layer.forward

        def forward(inputs: Tensor) -> Tensor:
            if not layer.training:
                outputs: Tensor = stock(inputs)
                return outputs
            if self._ghost is not None:
                return _by_ghosts(layer, inputs, self._ghost)
            return _by_all(layer, inputs, self._ranks)

        return forward

    @torch.no_grad()
    def _even_out(self) -> None:
        """Give all ranks the same running statistics, the means over ranks: those of ghost batches differ."""
        if self._ghost is None or self._ranks.count == 1:
            return
        running = [
            buffer
            for layer in self._layers
            for buffer in (layer.running_mean, layer.running_var)
            if buffer is not None and layer.training
        ]
        if not running:
            return
        flat = torch.cat(running)
        self._ranks.add_up(flat)
        mean = torch.split(flat / self._ranks.count, [len(buffer) for buffer in running])
        torch._foreach_copy_(running, list(mean))


def _by_ghosts(layer: _BatchNorm, inputs: Tensor, ghost: int) -> Tensor:
    """BatchNorm of each ghost batch by itself; the running statistics follow the means over ghost batches."""
    outputs, means, variances = [], [], []
    for part in torch.split(inputs, ghost):
        mean, variance = (torch.zeros(inputs.shape[1], device=inputs.device) for _ in range(2))
        # With a momentum of 1 the running statistics are those of this part.
        outputs.append(F.batch_norm(part, mean, variance, layer.weight, layer.bias, True, 1.0, layer.eps))
        means.append(mean)
        variances.append(variance)
    _follow(layer, torch.stack(means).mean(0), torch.stack(variances).mean(0))
    return torch.cat(outputs)


def _by_all(layer: _BatchNorm, inputs: Tensor, ranks: Ranks) -> Tensor:
    """BatchNorm of all that the ranks have together."""
    outputs, mean, variance = _Normalised.apply(inputs, layer.weight, layer.bias, layer.eps, ranks)
    count = ranks.count * inputs.numel() // inputs.shape[1]
    _follow(layer, mean, variance * (count / max(count - 1, 1)))
    joint: Tensor = outputs
    return joint


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of this batch, float32 (channels,); the variance is unbiased."""
    if layer.running_mean is None or layer.running_var is None:
        return
    share = layer.momentum
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        share = share if share is not None else 1.0 / float(layer.num_batches_tracked)
    for running, seen in ((layer.running_mean, mean), (layer.running_var, variance)):
        running.lerp_(seen.to(running.dtype), share or 0.0)


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias for x of (examples, channels, ...) on each rank, in float32.

    Mean and variance are over the examples of all ranks, which have equally many.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.float()
        parts = torch.stack(ranks.gather(torch.stack(torch.var_mean(wide, _but_channels(x), correction=0))))
        variances, means = parts.unbind(1)  # (ranks, channels)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        scale = (variance + eps).rsqrt()
        factor = scale if weight is None else scale * weight
        offset = -mean * factor if bias is None else bias - mean * factor
        ctx.save_for_backward(x, mean, scale, factor)
        ctx.ranks, ctx.has_weight, ctx.has_bias = ranks, weight is not None, bias is not None
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(_like(offset, x), wide, _like(factor, x)).to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, factor = ctx.saved_tensors
        over, wide = _but_channels(x), gradients[0].float()
        centred = x.float() - _like(mean, x)
        own = torch.stack([wide.sum(over), (wide * centred).sum(over) * scale])  # (2, channels)
        of_bias, of_weight = own if ctx.has_bias else (None, own[1])
        everyones = own.clone()
        ctx.ranks.add_up(everyones)
        total, along = everyones / (ctx.ranks.count * x.numel() // x.shape[1])
        inner = torch.addcmul(wide - _like(total, x), centred, _like(along * scale, x), value=-1)
        return (inner * _like(factor, x)).to(x.dtype), of_weight if ctx.has_weight else None, of_bias, None, None


def _but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.dim()))


def _like(values: Tensor, x: Tensor) -> Tensor:
    """View (channels,) so that it goes with ``x``."""
    return values.view(-1, *[1] * (x.dim() - 2))
