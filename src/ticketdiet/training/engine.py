"""One update, fast: parameters, gradients, the optimiser's state and the mask each live in one flat tensor.

The module's parameters become views of the flat tensor, so an update is a few vector operations whatever the number of
layers (four for SGD). Masked entries have zero weight, gradient and state at every step: the mask multiplies the
gradient, and zero plus zero stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Mask
from ticketdiet.kernels.line import line_of
from ticketdiet.kernels.network import SparseNetwork
from ticketdiet.training.arithmetic import layout_for
from ticketdiet.training.batches import Batch
from ticketdiet.training.convolutions import safe_convolutions
from ticketdiet.training.distributed import present_ranks
from ticketdiet.training.entries import DENSITY, AllEntries, Entries, KeptEntries
from ticketdiet.training.evaluation import autocast, device_of
from ticketdiet.training.flat import FlatTensors
from ticketdiet.training.joint_batch_norm import JointBatchNorm
from ticketdiet.training.recipe import Recipe


class Engine:
    """A network in training: forward, backward, update. ``release`` gives the module back its own tensors.

    On the CPU and in float32, layers below the line of ``recipe.sparse_kernels`` are done by the sparse kernels;
    ``kernels`` says in words what runs.

    With several ranks (``training.distributed``) each computes its slice of every batch, and the flat gradient is
    summed over them.

    Args:
        model: float32 module; trained in place.
        recipe: Gives the optimiser, the loss and the precision.
        mask: Names of parameters to tensors of 0 and 1, or None for a dense network.
        first_step: Step of the first update of this training, where the optimiser's state is 0.
        deferred: Find a non-finite loss on the device and report it at the next ``first_bad_step``, instead of
            waiting for the loss at every step. Updates from the bad step on are suppressed. Default: on CUDA only.

    Raises:
        UserError: For a mask name that matches no parameter, a mask of another shape, or parameters not in float32.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        mask: Mask | None = None,
        *,
        first_step: int = 0,
        deferred: bool | None = None,
    ) -> None:
        self.model, self.recipe, self.device = model, recipe, device_of(model)
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        _check_float32(self._parameters)
        self.data = FlatTensors(list(self._parameters.items()), layout_for(self.device, recipe.precision))
        self.grad, self._grad_views = self.data.like(0.0)
        self._loss, self._optimiser, self._first_step = recipe.make_loss(), recipe.make_optimiser(), first_step
        for name, parameter in self._parameters.items():
            parameter.data, parameter.grad = self.data.views[name], self._grad_views[name]
        self._convolutions, self._ranks = safe_convolutions(model), present_ranks()
        self._batch_norm = JointBatchNorm(model, self._ranks, recipe.ghost_batch_size)
        self._buffers = list(model.buffers())
        self._good_buffers = [buffer.clone() for buffer in self._buffers]
        self._mask = self._flat_mask(mask) if mask is not None else None
        if self._mask is not None:
            self.data.flat.mul_(self._mask)
        self._network, self.kernels = self._choose_kernels(mask)
        self._deferred = self.device.type == "cuda" if deferred is None else deferred
        self._entries = self._choose_entries()
        self._healthy = torch.ones((), dtype=torch.bool, device=self.device)
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self._lr = torch.zeros((), device=self.device)
        self._step = torch.zeros((), dtype=torch.int64, device=self.device)

    def _flat_mask(self, mask: Mask) -> Tensor:
        flat, views = self.data.like(1.0)
        for name, kept in mask.items():
            if name not in views or views[name].shape != kept.shape:
                has = f"a parameter of shape {tuple(views[name].shape)}" if name in views else "no such parameter"
                raise UserError(
                    f"The mask {name!r} has shape {tuple(kept.shape)}, but the network has {has}.",
                    expected="masks named and shaped like the network's parameters",
                    way_out="make the mask from this network, for example with dense_mask(model)",
                )
            views[name].copy_(kept)
        return flat

    def _choose_kernels(self, mask: Mask | None) -> tuple[Callable[[Tensor], Tensor], str]:
        """Return the forward pass, and what does it in words."""
        if self.device.type != "cpu" or self.recipe.precision != "float32":
            return self.model, f"stock: {self.recipe.precision} on {self.device.type}"
        if self._batch_norm.why_not_fused:
            return self.model, f"stock: {self._batch_norm.why_not_fused}"
        network = SparseNetwork(self.model, mask or {}, line_of(self.recipe.sparse_kernels), self._grad_views)
        return network, network.used

    def _choose_entries(self) -> Entries:
        names = self._optimiser.state_names
        few = self._mask is not None and float(self._mask.mean()) <= DENSITY
        # On a GPU starting an operation takes longer than going over the weights.
        if few and self._mask is not None and self.device.type == "cpu" and not self._deferred:
            return KeptEntries(self.data, names, self._mask)
        return AllEntries(self.data, names, self._mask)

    @property
    def optimiser_state(self) -> dict[str, dict[str, Tensor]]:
        """The optimiser's state, by its name and that of the parameter; not to be changed."""
        return self._entries.views()

    def load_optimiser_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what ``optimiser_state`` was."""
        self._entries.load(state)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) in float32 and the mean loss, with the graph for ``update``.

        Raises:
            UserError: For a batch that the ranks, or the ghost batches of a rank, cannot share evenly.
        """
        if self._buffers:
            torch._foreach_copy_(self._good_buffers, self._buffers)
        inputs = self._ranks.own_slice(batch.inputs)
        with self._batch_norm(len(inputs)), self._convolutions, autocast(self.device, self.recipe.precision):
            logits = self._network(inputs)
        logits = self._ranks.join(logits.float())
        return logits, self._loss.mean(logits, batch.labels)

    def update(self, loss: Tensor, lr: float, step: int) -> bool:
        """Take the optimiser's step on ``loss`` unless it is not finite; return False when it is known not to be."""
        if self._deferred:
            self.announce(lr, step)
            self.update_on_device(loss)
            return True
        if not math.isfinite(loss.item()):
            self.restore_buffers()
            return False
        self._entries.move(self._direction(loss, step - self._first_step), lr)
        return True

    def announce(self, lr: float, step: int) -> None:
        """Put the learning rate and the number of the next ``update_on_device`` on the device."""
        self._lr.fill_(lr)
        self._step.fill_(step)

    def update_on_device(self, loss: Tensor) -> None:
        """Do what ``update`` does with numbers that are on the device, so that nothing waits for it."""
        direction = self._suppress(self._direction(loss, (self._step - self._first_step).double()), loss)
        self.data.flat.addcmul_(direction, self._lr, value=-1)

    def _direction(self, loss: Tensor, update: int | Tensor) -> Tensor:
        self.grad.zero_()
        with self._convolutions:
            torch.autograd.backward(loss)
        self._ranks.add_up(self.grad)
        weights, gradient = self._entries.seen(self.data.flat), self._entries.gradient(self.grad)
        direction = self._optimiser.direction(weights, gradient, self._entries.state, update)
        if self._mask is not None and not self._optimiser.keeps_zeros:
            direction = direction * self._entries.seen(self._mask)
        return direction

    def _suppress(self, direction: Tensor, loss: Tensor) -> Tensor:
        was_healthy = self._healthy.clone()
        self._healthy &= torch.isfinite(loss.detach())
        self._bad_step.copy_(torch.where(was_healthy & ~self._healthy, self._step, self._bad_step))
        for good, buffer in zip(self._good_buffers, self._buffers, strict=True):
            buffer.copy_(torch.where(self._healthy, buffer, good))
        return torch.where(self._healthy, direction, torch.zeros_like(direction))

    def changing(self) -> list[Tensor]:
        """Return every tensor that a step changes: weights, the optimiser's state, buffers, and their health."""
        return [self.data.flat, *self._entries.state.values(), *self._buffers, self._healthy, self._bad_step]

    def first_bad_step(self) -> int | None:
        """Wait for the device and return the first step whose loss was not finite, if any."""
        step = int(self._bad_step) if self._deferred else -1
        return None if step < 0 else step

    def restore_buffers(self) -> None:
        """Put BatchNorm's buffers back to where they were before the last forward pass."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._good_buffers)

    def release(self) -> None:
        """Give the module tensors of its own again, contiguous, without gradients."""
        for name, parameter in self._parameters.items():
            parameter.data = self.data.views[name].clone(memory_format=torch.contiguous_format)
            parameter.grad = None


def _check_float32(parameters: dict[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        if parameter.dtype != torch.float32:
            raise UserError(
                f"The parameter {name!r} has dtype {parameter.dtype}.",
                expected="float32 parameters (bfloat16 comes from autocast)",
                way_out="call model.float() first",
            )
