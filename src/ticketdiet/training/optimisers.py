"""Optimisers: what a step makes of the gradient, as vector operations on the engine's flat tensors.

An optimiser is a class with one verb, ``direction``; the engine then takes ``weights -= lr * direction``. Its state is
flat tensors by name, which the engine keeps, saves and restores, so that an optimiser itself never changes.

Another package adds one with ``OPTIMISERS.register(name)`` or an entry point in the group ``ticketdiet.optimisers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from ticketdiet.core.options import BaseOptions, Configurable
from ticketdiet.core.registry import Registry

if TYPE_CHECKING:  # recipes import this module, and reading a study must not import torch
    from torch import Tensor

OPTIMISERS: Registry[type[Optimiser]] = Registry("optimiser")


class Optimiser(Configurable):
    """How a step moves the weights. Override ``direction``; register the class under a name in ``OPTIMISERS``.

    Args:
        recipe: Keys of the recipe that the class ``uses``, and ``weight_decay``, by name.
        options: Options of the class (``optimiser_options`` of a recipe).

    Attributes:
        uses: Keys of ``Recipe`` that only some optimisers read: of ``momentum`` and ``nesterov``.
        state_names: Names of its state; each is a float32 tensor as long as the weights, 0 at the start.
        keeps_zeros: Whether the direction is exactly 0 wherever weights, gradient and state are. When it is False the
            engine sets it to 0 under the mask, which costs one more pass over the weights.
    """

    kind = "optimiser"
    uses: ClassVar[frozenset[str]] = frozenset()
    state_names: ClassVar[tuple[str, ...]] = ()
    keeps_zeros: ClassVar[bool] = False

    def __init__(self, recipe: Mapping[str, Any], options: Mapping[str, object] | None = None) -> None:
        super().__init__(options)
        self.recipe = recipe

    def direction(self, weights: Tensor, gradient: Tensor, state: Mapping[str, Tensor], update: int | Tensor) -> Tensor:
        """Return where the weights go: the engine subtracts the learning rate times this.

        Args:
            weights: float32 (weights,): the trained parameters, all or those that the mask keeps; not to be changed.
            gradient: float32 (weights,): gradient of the mean loss, 0 at masked entries; may be overwritten.
            state: Name of each of ``state_names`` -> float32 (weights,), to be changed in place.
            update: How many updates this state has seen, from 0. Rewinding starts again from 0. On a GPU it is a
                tensor there, float64 (), so that nothing waits for it.

        Returns:
            float32 (weights,); it may be ``gradient`` or a tensor of ``state``.
        """
        raise NotImplementedError


@OPTIMISERS.register("sgd")
class SGD(Optimiser):
    """SGD with momentum and L2 weight decay, as ``torch.optim.SGD``.

    ``v = momentum * v + (g + weight_decay * w)``, ``w -= lr * v``; with ``nesterov``, ``g + momentum * v`` takes the
    place of ``v``.
    """

    uses = frozenset({"momentum", "nesterov"})
    state_names = ("momentum",)
    keeps_zeros = True

    def direction(self, weights: Tensor, gradient: Tensor, state: Mapping[str, Tensor], update: int | Tensor) -> Tensor:
        """Return the momentum, or Nesterov's look ahead."""
        decay, momentum = self.recipe["weight_decay"], self.recipe["momentum"]
        if decay:
            gradient.add_(weights, alpha=decay)
        velocity = state["momentum"].mul_(momentum).add_(gradient)
        return gradient.add_(velocity, alpha=momentum) if self.recipe["nesterov"] else velocity


@OPTIMISERS.register("adamw")
class AdamW(Optimiser):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101), as ``torch.optim.AdamW``.

    ``m = b1 * m + (1 - b1) * g``, ``v = b2 * v + (1 - b2) * g**2``, both divided by ``1 - b ** t`` for the t-th update
    since the moments were 0, and ``w -= lr * (m / (sqrt(v) + eps) + weight_decay * w)``. As in PyTorch, the decay is
    multiplied by the learning rate. Rates that suit it are about a hundredth of those of SGD.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    keeps_zeros = True

    class Options(BaseOptions):
        """What AdamW takes besides ``lr`` and ``weight_decay``."""

        betas: tuple[float, float] = Field(default=(0.9, 0.999), description="Decay of the two moments, in [0, 1).")
        eps: float = Field(
            default=1e-8, gt=0, allow_inf_nan=False, description="Added to the root of the second moment."
        )

        @field_validator("betas")
        @classmethod
        def _decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
            if not all(0 <= beta < 1 for beta in betas):
                raise ValueError("two numbers of at least 0 and below 1")
            return betas

    options: Options

    def direction(self, weights: Tensor, gradient: Tensor, state: Mapping[str, Tensor], update: int | Tensor) -> Tensor:
        """Return the first moment over the root of the second, and the decay."""
        (first, second), mean, square = self.options.betas, state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = square.sqrt().div_((1 - second ** (update + 1)) ** 0.5).add_(self.options.eps)
        step = root.reciprocal_().mul_(mean).div_(1 - first ** (update + 1))
        return step.add_(weights, alpha=self.recipe["weight_decay"])
