"""Where, and how, the training of a level starts again: rewinding of the weights, of the rate, or fine-tuning.

Another package adds a policy with ``RESTARTS.register(name)`` or an entry point in the group ``ticketdiet.restarts``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field
from torch import Tensor

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import BaseOptions, Configurable, make
from ticketdiet.core.registry import Registry
from ticketdiet.core.values import Mask, Weights
from ticketdiet.tickets.controls import masked
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.schedule import has_last_rate, learning_rate

RESTARTS: Registry[type[RestartPolicy]] = Registry("restart policy", "restarts")


@dataclass(frozen=True, eq=False)
class Restart:
    """From where, and how, the training of a level goes.

    Attributes:
        weights: A whole ``state_dict``, removed weights at exactly 0.
        start_step: Step that these weights belong to; the first batch is that of this step.
        recipe: The training, up to ``recipe.steps``.
    """

    weights: Mapping[str, Tensor]
    start_step: int
    recipe: Recipe


class RestartPolicy(Configurable):
    """How a level after the first starts. Override ``weights``, ``recipe`` or both; register the class in ``RESTARTS``.

    As it is, it rewinds the weights. The optimiser's state is 0 under every policy.
    """

    kind = "restart policy"

    def weights(self, point: Weights, trained: Weights) -> Weights:
        """Return what the level starts from; removed weights are set to 0 afterwards.

        Args:
            point: The ``state_dict`` at the rewinding point.
            trained: The trained ``state_dict`` of the level before.
        """
        return point

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return how the level is trained, from step k to the end of ``recipe``."""
        return recipe


@RESTARTS.register("weights")
class RewindWeights(RestartPolicy):
    """The weights at the rewinding point, and the learning rates from step k on."""


@RESTARTS.register("learning_rate")
class RewindLearningRate(RestartPolicy):
    """The trained weights of the level before, and the learning rates from step k on."""

    def weights(self, point: Weights, trained: Weights) -> Weights:
        """Return the trained weights."""
        return trained


@RESTARTS.register("fine_tune")
class FineTune(RewindLearningRate):
    """The trained weights of the level before, and one learning rate for all steps; see ``fine_tuning``."""

    class Options(BaseOptions):
        """At which rate."""

        lr: float | None = Field(
            default=None, gt=0, allow_inf_nan=False, description="Learning rate; default that of the last step."
        )

    options: Options

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe at one learning rate."""
        return fine_tuning(recipe, self.options.lr)


def restart(
    policy: str | RestartPolicy,
    point_weights: Weights,
    previous_trained_weights: Weights | None,
    mask: Mask,
    recipe: Recipe,
    k: int,
    *,
    options: Mapping[str, object] | None = None,
) -> Restart:
    """Say how a level starts: by weight rewinding, learning-rate rewinding or fine-tuning (Renda et al. 2020).

    arXiv 2003.02389. All train ``recipe.steps - k`` steps from a fresh optimiser, on the same batches:

    - ``"weights"``: the weights at the rewinding point, and the learning rates from step k on;
    - ``"learning_rate"``: the trained weights of the level before, and the learning rates from step k on;
    - ``"fine_tune"``: the trained weights of the level before, at one learning rate throughout: that of the last step,
      as Renda et al. do after schedules of steps, or its option ``lr``. A cosine schedule ends at a rate of about 0,
      at which nothing would be trained, so there ``lr`` has to be given.

    The first level has no level before: it starts at the rewinding point under every policy.

    Args:
        policy: A name of ``RESTARTS``, or a policy with options.
        point_weights: The ``state_dict`` at the rewinding point.
        previous_trained_weights: The trained ``state_dict`` of the level before, or None at level 0.
        mask: The mask of the level to train.
        recipe: The training of every level.
        k: Step of the rewinding point.
        options: Options of the policy of that name: ``{"lr": 0.01}`` for ``"fine_tune"``.

    Returns:
        Weights, first step and recipe to give to ``train``.

    Raises:
        UnknownName: For another policy.
        UserError: For a step outside the recipe, a mask that does not fit, an option that the policy does not take, or
            fine-tuning without a rate after a cosine schedule.
    """
    chosen = make(RESTARTS, policy, options) if isinstance(policy, str) else policy
    if not 0 <= k <= recipe.steps:
        raise UserError(
            f"Got a restart at step {k} of a training of {recipe.steps} steps.",
            expected="0 <= k <= steps",
            way_out="give a smaller k, or more steps",
        )
    if previous_trained_weights is None:
        return Restart(masked(point_weights, mask), k, recipe)
    weights = chosen.weights(point_weights, previous_trained_weights)
    return Restart(masked(weights, mask), k, chosen.recipe(recipe))


def fine_tuning(recipe: Recipe, lr: float | None = None) -> Recipe:
    """Return ``recipe`` at one learning rate throughout: ``lr``, or that of its last step.

    Raises:
        UserError: For a rate that is not above 0, and without a rate after a cosine schedule, which ends at about 0.
    """
    if lr is None and not has_last_rate(recipe):
        raise UserError(
            f"Got fine-tuning after a {recipe.schedule} schedule, whose last rate is "
            f"{learning_rate(recipe, recipe.steps - 1):.2g} after a first rate of {recipe.lr:g}.",
            expected="a learning rate at which weights still move",
            way_out=f"give the learning rate of fine_tune, for example {recipe.lr / 100:g}, or another schedule",
        )
    lr = learning_rate(recipe, recipe.steps - 1) if lr is None else lr
    if not 0 < lr < math.inf:
        raise UserError(
            f"Got a learning rate of {lr} for fine-tuning.",
            expected="a learning rate above 0",
            way_out=f"for example {recipe.lr / 100:g}",
        )
    return Recipe.model_validate(recipe.model_dump() | {"schedule": "constant", "lr": lr, "warmup_steps": 0})
