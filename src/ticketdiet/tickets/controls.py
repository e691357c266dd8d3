"""Controls of a ticket: what of it matters, the mask, the weights or only their signs.

The functions map plain mappings to plain mappings; nothing is trained. The weights that a ticket starts from are also
classes with one verb, known by name. Where training starts again is in :mod:`ticketdiet.tickets.restarts`.

Another package adds weights with ``INITIAL_WEIGHTS.register(name)`` or an entry point in the group
``ticketdiet.initial_weights``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import Configurable, make
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import derive_seed, numpy_generator
from ticketdiet.core.values import Mask, Weights
from ticketdiet.tickets.masks import apply_mask, check_mask

INITIAL_WEIGHTS: Registry[type[InitialWeights]] = Registry("initial weights", "initial weights")


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
    return masked({name: value.detach().cpu() for name, value in model.state_dict().items()}, mask)


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
    changed = masked(weights, mask)
    for name in mask:
        if name not in initial:
            raise UserError(
                f"The initial standard deviation of {name!r} is missing.",
                expected="initial weights, or their standard deviation, of every masked tensor",
                way_out="give the state_dict at step 0",
            )
        changed[name] = changed[name].sign() * _std(initial[name])
    return changed


@dataclass(frozen=True, eq=False)
class Ticket:
    """A mask, and the weights that were at hand when it was found.

    Attributes:
        point_weights: The ``state_dict`` at the rewinding point, on the CPU.
        mask: Name -> tensor of 0 and 1.
        make_model: Seed of the initial weights -> a network, as the ticket's own was made.
        initial_seed: Seed of the ticket's own initialisation.
        seed: Seed of whatever is drawn.
    """

    point_weights: Weights
    mask: Mask
    make_model: Callable[[int], nn.Module]
    initial_seed: int
    seed: int = 0

    @property
    def initial_weights(self) -> dict[str, Tensor]:
        """The ``state_dict`` at step 0, on the CPU; the network is made again for it."""
        state = self.make_model(self.initial_seed).state_dict()
        return {name: value.detach().cpu() for name, value in state.items()}


class InitialWeights(Configurable):
    """From which weights a ticket trains. Override ``weights``; register the class in ``INITIAL_WEIGHTS``."""

    kind = "initial weights"

    def weights(self, ticket: Ticket) -> Mapping[str, Tensor]:
        """Return a whole ``state_dict`` on the CPU; removed weights are set to 0 afterwards."""
        raise NotImplementedError


@INITIAL_WEIGHTS.register("rewound")
class Rewound(InitialWeights):
    """The weights of the rewinding point, as in the mask search."""

    def weights(self, ticket: Ticket) -> Mapping[str, Tensor]:
        """Return the weights at the point."""
        return ticket.point_weights


@INITIAL_WEIGHTS.register("reinitialised")
class Reinitialised(InitialWeights):
    """New initial weights for the same mask; see ``reinitialised``."""

    def weights(self, ticket: Ticket) -> Mapping[str, Tensor]:
        """Return the weights of a network that is made from a seed of its own."""
        return reinitialised(ticket.make_model, ticket.seed, ticket.mask)


@INITIAL_WEIGHTS.register("sign_only")
class SignOnly(InitialWeights):
    """The signs of the weights at the rewinding point, with one magnitude per layer; see ``sign_only``."""

    def weights(self, ticket: Ticket) -> Mapping[str, Tensor]:
        """Return signs times the standard deviation of each tensor at initialisation."""
        return sign_only(ticket.point_weights, ticket.initial_weights, ticket.mask)


def find_weights(name: str, ticket: Ticket, options: Mapping[str, object] | None = None) -> dict[str, Tensor]:
    """Return the weights that a ticket trains from, by the name of their kind.

    Args:
        name: A name of ``INITIAL_WEIGHTS``: ``"rewound"``, ``"reinitialised"``, ``"sign_only"``.
        ticket: The mask, and where it came from.
        options: Options of the kind.

    Returns:
        A whole ``state_dict``, removed weights at exactly 0.

    Raises:
        UnknownName: For another name; the message lists those there are.
        UserError: For an option that the kind does not have, or a mask that does not fit.
    """
    return masked(make(INITIAL_WEIGHTS, name, options).weights(ticket), ticket.mask)


def masked(weights: Weights, mask: Mask | None) -> dict[str, Tensor]:
    """Return a copy of ``weights`` with the removed ones at exactly 0; None removes nothing.

    Raises:
        UserError: For a mask that does not fit.
    """
    if mask is None:
        return {name: value.clone() for name, value in weights.items()}
    check_mask(weights, mask)
    return apply_mask(weights, mask)


def _std(initial: Tensor | float) -> float:
    return float(initial.double().std(correction=0)) if isinstance(initial, Tensor) else float(initial)
