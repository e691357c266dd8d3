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
            return _normalise(layer, inputs, self._ranks if self._ghost is None else Ranks(), self._ghost)

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


def _normalise(layer: _BatchNorm, inputs: Tensor, ranks: Ranks, ghost: int | None) -> Tensor:
    """BatchNorm in training: of all that ``ranks`` have, or of each ghost batch of these ``inputs``."""
    size = len(inputs) if ghost is None else ghost
    grouped = inputs.view(len(inputs) // size, size, *inputs.shape[1:])
    outputs, mean, variance = _Normalised.apply(grouped, layer.weight, layer.bias, layer.eps, ranks)
    count = grouped[0].numel() // grouped.shape[2] * ranks.count
    _follow(layer, mean, variance * (count / max(count - 1, 1)))
    return torch.flatten(outputs, 0, 1)


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of this batch: (groups, channels) each, averaged over groups."""
    if layer.running_mean is None or layer.running_var is None:
        return
    share = layer.momentum
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        share = share if share is not None else 1.0 / float(layer.num_batches_tracked)
    for running, seen in ((layer.running_mean, mean), (layer.running_var, variance)):
        running.mul_(1 - (share or 0.0)).add_(seen.mean(0).to(running.dtype), alpha=share or 0.0)


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias for x of (groups, examples, channels, ...), in float32."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide, over = x.float(), _all_but_groups_and_channels(x)
        variance, mean = torch.var_mean(wide, over, correction=0)
        if ranks.count > 1:
            parts = torch.stack(ranks.gather(torch.cat([mean, variance])))  # (ranks, 2, channels)
            means, variances = parts[:, :1], parts[:, 1:]
            mean = means.mean(0)
            variance = variances.mean(0) + (means - mean).square().mean(0)
        scale = (variance + eps).rsqrt()
        normal = (wide - _like(mean, x)) * _like(scale, x)
        ctx.save_for_backward(normal, scale, weight)
        ctx.ranks, ctx.has_bias = ranks, bias is not None
        ctx.mark_non_differentiable(mean, variance)
        outputs = normal if weight is None else normal * _of_channels(weight, x)
        outputs = outputs if bias is None else outputs + _of_channels(bias, x)
        return outputs.to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        gradient = gradients[0]
        wide, over = gradient.float(), _all_but_groups_and_channels(gradient)
        total, along = wide.sum(over), (wide * normal).sum(over)  # (groups, channels)
        of_weight = along.sum(0) if weight is not None else None
        of_bias = total.sum(0) if ctx.has_bias else None
        count = gradient[0].numel() // gradient.shape[2]
        if ctx.ranks.count > 1:
            both = torch.stack([total, along])
            ctx.ranks.add_up(both)
            (total, along), count = both, count * ctx.ranks.count
        inner = wide - _like(total / count, wide) - normal * _like(along / count, wide)
        factor = scale if weight is None else scale * weight
        return (inner * _like(factor, wide)).to(gradient.dtype), of_weight, of_bias, None, None


def _all_but_groups_and_channels(x: Tensor) -> tuple[int, ...]:
    return (1, *range(3, x.dim()))


def _like(values: Tensor, x: Tensor) -> Tensor:
    """View (groups, channels) so that it goes with ``x``."""
    return values.view(len(values), 1, -1, *[1] * (x.dim() - 3))


def _of_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 3))
