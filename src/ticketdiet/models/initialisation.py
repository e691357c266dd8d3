"""Initial weights as a function of a seed and a tensor's name, independent of every other tensor."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ticketdiet.core.errors import check_known
from ticketdiet.core.seeds import torch_generator

Initialisation = Literal["kaiming", "paper", "module"]
INITIALISATIONS: tuple[str, ...] = get_args(Initialisation)


@torch.no_grad()
def initialise(model: nn.Module, initialisation: str, seed: int) -> None:
    """Draw the weights of ``model`` again, in place and on the device that they are on.

    ``"kaiming"`` draws the weights of convolutions and linear layers from the normal distribution of He et al. (fan-in,
    gain sqrt(2)); their biases are 0, BatchNorm starts as the identity (gamma 1, beta 0). ``"paper"`` is the same but
    draws gamma from U(0, 1), as the published runs of arXiv 2206.01278 do. ``"module"`` changes nothing. Parameters of
    other layers keep what their constructors drew.

    Args:
        model: Any module.
        initialisation: ``"kaiming"``, ``"paper"`` or ``"module"``.
        seed: Each tensor's draw is a function of this and the tensor's name only; no global generator is touched.

    Raises:
        UnknownName: When ``initialisation`` is anything else.
    """
    check_known("initialisation", initialisation, INITIALISATIONS)
    if initialisation == "module":
        return
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            _draw_kaiming(module, seed, name)
        elif isinstance(module, _BatchNorm) and module.affine:
            _start_batch_norm(module, initialisation, seed, name)


def _draw_kaiming(module: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear, seed: int, name: str) -> None:
    drawn = torch.empty(module.weight.shape)
    generator = torch_generator(seed, "weights", f"{name}.weight")
    nn.init.kaiming_normal_(drawn, mode="fan_in", nonlinearity="relu", generator=generator)
    module.weight.copy_(drawn)
    if module.bias is not None:
        module.bias.zero_()


def _start_batch_norm(module: _BatchNorm, initialisation: str, seed: int, name: str) -> None:
    if initialisation == "paper":
        generator = torch_generator(seed, "weights", f"{name}.weight")
        module.weight.copy_(torch.rand(module.weight.shape, generator=generator))
    else:
        module.weight.fill_(1.0)
    module.bias.zero_()
