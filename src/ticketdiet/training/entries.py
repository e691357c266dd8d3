"""Which entries of the flat tensors an optimiser moves: all of them, or those that a mask keeps, in their order.

Each step of an optimiser goes over the weights several times. Under a sparse mask it is quicker to pick the kept
entries first, and the state need not have the others at all. Every entry is computed by itself, so the numbers are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ticketdiet.training.flat import FlatTensors

DENSITY = 0.25  # up to which picking is quicker than going over everything: measured with one thread and SGD


class Entries(Protocol):
    """What an optimiser sees of the flat tensors, and its state.

    Attributes:
        state: Name of each part of the state -> float32 (entries,).
    """

    state: dict[str, Tensor]

    def seen(self, flat: Tensor) -> Tensor:
        """Return the entries of a flat tensor that the optimiser works on, in ``flat`` itself or copied."""

    def gradient(self, flat: Tensor) -> Tensor:
        """Return these entries of the gradient, 0 where the mask is; ``flat`` may be changed."""

    def move(self, direction: Tensor, lr: float) -> None:
        """Take the learning rate times ``direction`` from the weights."""

    def views(self) -> dict[str, dict[str, Tensor]]:
        """Return the state as tensors by name of the parameter, whole."""

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what ``views`` gave."""


class AllEntries:
    """Every entry, with the weights and the state in place; ``mask``, if any, is a flat tensor of 0 and 1."""

    def __init__(self, data: FlatTensors, names: tuple[str, ...], mask: Tensor | None = None) -> None:
        self._data, self._mask = data, mask
        made = {name: data.like(0.0) for name in names}
        self.state = {name: flat for name, (flat, _) in made.items()}
        self._views = {name: views for name, (_, views) in made.items()}

    def seen(self, flat: Tensor) -> Tensor:
        """Return ``flat``."""
        return flat

    def gradient(self, flat: Tensor) -> Tensor:
        """Return ``flat``, multiplied by the mask in place."""
        return flat if self._mask is None else flat.mul_(self._mask)

    def move(self, direction: Tensor, lr: float) -> None:
        """Take the learning rate times ``direction`` from the weights."""
        self._data.flat.add_(direction, alpha=-lr)

    def views(self) -> dict[str, dict[str, Tensor]]:
        """Return views of the state."""
        return self._views

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what ``views`` gave."""
        for kind, views in self._views.items():
            for name, view in views.items():
                view.copy_(state[kind][name])


class KeptEntries:
    """The entries where ``mask``, a flat tensor of 0 and 1, is not 0."""

    def __init__(self, data: FlatTensors, names: tuple[str, ...], mask: Tensor) -> None:
        self._data, self._index = data, mask.nonzero()[:, 0]
        self.state = {name: torch.zeros(len(self._index), device=mask.device) for name in names}

    def seen(self, flat: Tensor) -> Tensor:
        """Return the kept entries, copied."""
        return flat.index_select(0, self._index)

    def gradient(self, flat: Tensor) -> Tensor:
        """Return the kept entries, copied."""
        return self.seen(flat)

    def move(self, direction: Tensor, lr: float) -> None:
        """Take the learning rate times ``direction`` from the kept weights."""
        moved = self.seen(self._data.flat).add_(direction, alpha=-lr)
        self._data.flat.scatter_(0, self._index, moved)

    def views(self) -> dict[str, dict[str, Tensor]]:
        """Return the state with 0 where the mask has it."""
        found = {}
        for kind, kept in self.state.items():
            flat, found[kind] = self._data.like(0.0)
            flat.scatter_(0, self._index, kept)
        return found

    def load(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over the kept entries of what ``views`` gave."""
        for kind, kept in self.state.items():
            flat, views = self._data.like(0.0)
            for name, view in views.items():
                view.copy_(state[kind][name])
            kept.copy_(self.seen(flat))
