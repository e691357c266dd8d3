"""The learning rate as a pure function of the step, so that a rewound training picks it up at any step."""

from __future__ import annotations

import math

from ticketdiet.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of the update that leads from ``step`` to ``step + 1``.

    Args:
        recipe: The training; its schedule runs from step 0 to ``recipe.steps`` wherever a training starts.
        step: Step counted from initialisation, from 0.

    Returns:
        multistep: ``lr * gamma ** (milestones passed)``; cosine: ``lr * (1 + cos(pi * step / steps)) / 2``; constant:
        ``lr``. During warm-up, times ``(step + 1) / warmup_steps``.
    """
    return recipe.lr * _decay(recipe, step) * _warmup(recipe, step)


def has_last_rate(recipe: Recipe) -> bool:
    """Whether the rate of the last step is one to train on with: a cosine schedule has fallen to about 0 there."""
    return recipe.schedule != "cosine"


def _decay(recipe: Recipe, step: int) -> float:
    if recipe.schedule == "multistep":
        return float(recipe.gamma ** sum(step >= milestone for milestone in recipe.milestone_steps()))
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    return 1.0


def _warmup(recipe: Recipe, step: int) -> float:
    return min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
