"""Controls of a ticket: what of it matters, the mask, the weights, their signs, or where training starts again.

Everything here is a function of plain mappings that returns plain mappings; nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.seeds import derive_seed, numpy_generator
from ticketdiet.core.values import Mask, Weights
from ticketdiet.tickets.masks import apply_mask, check_mask
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.schedule import has_last_rate, learning_rate

RestartPolicy = Literal["weights", "learning_rate", "fine_tune"]
RESTART_POLICIES: tuple[str, ...] = get_args(RestartPolicy)


def reinitialised(make_model: Callable[[int], nn.Module], seed: int, mask: Mask | None = None) -> dict[str, Tensor]:
    """Draw new initial weights for the same mask: the random reinitialisation of a ticket.

    Frankle and Carbin 2019 (arXiv 1803.03635): if these train as well, the mask alone is what was found.

    Args:
        make_model: Seed of the initial weights -> a network, as the ticket's own was made.
        seed: Seed of the ticket's own initialisation; the new one is derived from it and differs.
        mask: Name -> tensor of 0 and 1, or None for the dense network.

    Returns:
        A whole ``state_dict`` on the CPU, removed weights at exactly 0.

    Raises:
        UserError: For a mask that does not fit.
    """
    model = make_model(derive_seed(seed, "reinitialised"))
    return _masked({name: value.detach().cpu() for name, value in model.state_dict().items()}, mask)


def shuffled_mask(mask: Mask, seed: int = 0) -> dict[str, Tensor]:
    """Permute the mask of every layer at random: the same density layer by layer, no other structure.

    Frankle et al. 2021 (arXiv 2009.08576) call it random shuffling within layers.

    Args:
        mask: Name -> tensor of 0 and 1.
        seed: Each layer's permutation is a function of this and its name.

    Returns:
        Name -> mask of the same shape, dtype and number of ones, on the same device.
    """
    shuffled = {}
    for name, kept in mask.items():
        order = torch.from_numpy(numpy_generator(seed, "shuffled_mask", name).permutation(kept.numel()))
        shuffled[name] = kept.flatten()[order.to(kept.device)].reshape(kept.shape)
    return shuffled


def sign_only(weights: Weights, initial: Mapping[str, Tensor | float], mask: Mask) -> dict[str, Tensor]:
    """Keep of every weight at the rewinding point only its sign: ``sign(w) * std`` of its tensor at initialisation.

    Zhou et al. 2019 (arXiv 1905.01067) with a constant magnitude; Frankle et al. 2020 (arXiv 2002.10365)
    at a rewinding point. Biases and BatchNorm stay as they are at the point, and a weight of exactly 0 is 0.

    Args:
        weights: The ``state_dict`` at the rewinding point.
        initial: Prunable name -> initial weights of that tensor, whose standard deviation (ddof = 0, over the whole
            tensor and not only over what the mask keeps) is taken, or that number itself. May hold more names.
        mask: Name -> tensor of 0 and 1: which tensors change, and which weights are removed.

    Returns:
        A whole ``state_dict``, removed weights at exactly 0.

    Raises:
        UserError: For a mask that does not fit, or a masked tensor that ``initial`` lacks.
    """
    changed = _masked(weights, mask)
    for name in mask:
        if name not in initial:
            raise UserError(
                f"no initial standard deviation of {name!r}.",
                expected="initial weights, or their standard deviation, of every masked tensor",
                way_out="give the state_dict at step 0",
            )
        changed[name] = changed[name].sign() * _std(initial[name])
    return changed


@dataclass(frozen=True, eq=False)
class Restart:
    """From where, and how, the training of a level goes.

    Attributes:
        weights: A whole ``state_dict``, removed weights at exactly 0.
        start_step: Step these weights stand at; the first batch is that of this step.
        recipe: The training, up to ``recipe.steps``.
    """

    weights: Mapping[str, Tensor]
    start_step: int
    recipe: Recipe


def restart(
    policy: RestartPolicy,
    point_weights: Weights,
    previous_trained_weights: Weights | None,
    mask: Mask,
    recipe: Recipe,
    k: int,
    *,
    fine_tune_lr: float | None = None,
) -> Restart:
    """Say how a level starts: by weight rewinding, learning-rate rewinding or fine-tuning (Renda et al. 2020).

    arXiv 2003.02389. All three train ``recipe.steps - k`` steps with zero momentum, on the same batches:

    - ``"weights"``: the weights at the rewinding point, and the learning rates from step k on;
    - ``"learning_rate"``: the trained weights of the level before, and the learning rates from step k on;
    - ``"fine_tune"``: the trained weights of the level before, at one learning rate throughout: that of the last step,
      as Renda et al. do after schedules of steps, or ``fine_tune_lr``. A cosine schedule ends at a rate of about 0, at
      which nothing would be trained, so there ``fine_tune_lr`` has to be given.

    The first level has no level before: it starts at the rewinding point under every policy.

    Args:
        policy: One of the three.
        point_weights: The ``state_dict`` at the rewinding point.
        previous_trained_weights: The trained ``state_dict`` of the level before, or None at level 0.
        mask: The mask of the level to train.
        recipe: The training of every level.
        k: Step of the rewinding point.
        fine_tune_lr: Learning rate under ``"fine_tune"``; default that of the last step of the recipe.

    Returns:
        Weights, first step and recipe to give to ``train``.

    Raises:
        UnknownName: For another policy.
        UserError: For a step outside the recipe, a mask that does not fit, a rate that is not above 0, or fine-tuning
            without a rate after a cosine schedule.
    """
    if policy not in RESTART_POLICIES:
        raise UnknownName.of("restart policy", policy, RESTART_POLICIES)
    if not 0 <= k <= recipe.steps:
        raise UserError(
            f"a restart at step {k} of {recipe.steps}.",
            expected="0 <= k <= steps",
            way_out="a smaller k, or more steps",
        )
    if policy == "weights" or previous_trained_weights is None:
        return Restart(_masked(point_weights, mask), k, recipe)
    trained = _masked(previous_trained_weights, mask)
    return Restart(trained, k, recipe if policy == "learning_rate" else fine_tuning(recipe, fine_tune_lr))


def fine_tuning(recipe: Recipe, lr: float | None = None) -> Recipe:
    """Return ``recipe`` at one learning rate throughout: ``lr``, or that of its last step.

    Raises:
        UserError: For a rate that is not above 0, and without a rate after a cosine schedule, which ends at about 0.
    """
    if lr is None and not has_last_rate(recipe):
        raise UserError(
            f"fine-tuning after a {recipe.schedule} schedule, whose last rate is "
            f"{learning_rate(recipe, recipe.steps - 1):.2g} of a first rate of {recipe.lr:g}.",
            expected="a learning rate at which weights still move",
            way_out=f"give fine_tune_lr, for example {recipe.lr / 100:g}, or another schedule",
        )
    lr = learning_rate(recipe, recipe.steps - 1) if lr is None else lr
    if not 0 < lr < math.inf:
        raise UserError(f"fine_tune_lr {lr}.", expected="a learning rate above 0")
    return Recipe.model_validate(recipe.model_dump() | {"schedule": "constant", "lr": lr, "warmup_steps": 0})


def _masked(weights: Weights, mask: Mask | None) -> dict[str, Tensor]:
    if mask is None:
        return {name: value.clone() for name, value in weights.items()}
    check_mask(weights, mask)
    return apply_mask(weights, mask)


def _std(initial: Tensor | float) -> float:
    return float(initial.double().std(correction=0)) if isinstance(initial, Tensor) else float(initial)
