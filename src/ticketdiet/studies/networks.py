"""What a study needs to know of a network before training it: its identity, its prunable names, its cost."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.reading import open_regular
from ticketdiet.data.cache import ImageFacts
from ticketdiet.models.build import build_model, find_model, is_own_module
from ticketdiet.studies.parts import ModelSpec
from ticketdiet.studies.stages import Cost
from ticketdiet.tickets.masks import prunable_names
from ticketdiet.training.batch_norm import batch_norms
from ticketdiet.training.cost import forward_flops, training_flops
from ticketdiet.training.recipe import Recipe

MOST_WEIGHTS = 500_000_000


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of a study, for the images that ``facts`` describe."""

    facts: ImageFacts

    def identity(self, model: ModelSpec) -> dict[str, Any]:
        """JSON-able fields that determine the network, defaults written out.

        Raises:
            UserError: When the images are not square.
        """
        channels, height, width = self.facts.shape
        if height != width:
            raise UserError(
                f"images of {height} x {width} pixels.",
                expected="square images",
                way_out="crop or pad the images before loading them",
            )
        built_in = not is_own_module(model.name)
        return {
            "name": model.name,
            "width": model.width,
            "initialisation": model.initialisation or ("kaiming" if built_in else "module"),
            "source": "" if built_in else source_digest(model.name),
            "num_classes": self.facts.num_classes,
            "in_channels": channels,
            "image_size": height,
        }

    def check_ignored(self, model: ModelSpec, ignore: Iterable[str]) -> None:
        """Refuse names to ignore that match nothing."""
        prunable_names(self._built(model), ignore)

    def count_prunable(self, model: ModelSpec, ignore: Iterable[str]) -> int:
        """Number of prunable weights that are not ignored."""
        built = self._built(model)
        weights = dict(built.named_parameters())
        return sum(weights[name].numel() for name in prunable_names(built, ignore))

    def has_batch_norm(self, model: ModelSpec) -> bool:
        """Whether running statistics of BatchNorm are part of the network."""
        return bool(batch_norms(self._built(model)))

    def cost(self, model: ModelSpec, recipe: Recipe, steps: int) -> Cost:
        """What ``steps`` of training take."""
        examples = steps * recipe.batch_size
        forward = _forward_flops(self._built(model), self.facts.shape)
        return Cost(steps, examples, training_flops(forward, examples))

    def _built(self, model: ModelSpec) -> nn.Module:
        identity = self.identity(model)
        return _build(*(identity[key] for key in ("name", "width", "num_classes", "in_channels", "image_size")))


@lru_cache(maxsize=16)
def _build(name: str, width: int | None, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    sizes: dict[str, Any] = {
        "width": width,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "image_size": image_size,
    }
    if not is_own_module(name):
        _check_size(name, sizes)
    return build_model(name, **sizes)


def _check_size(name: str, sizes: dict[str, Any]) -> None:
    """Refuse a built-in network that would not fit into memory, before any of it is made."""
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in build_model(name, initialisation="module", **sizes).parameters())
    if weights > MOST_WEIGHTS:
        raise UserError(
            f"model {name} with width {sizes['width']} has {weights:,} weights.",
            expected=f"at most {MOST_WEIGHTS:,}",
            way_out="a smaller model.width, or a smaller dataset.resolution",
        )


@lru_cache(maxsize=16)
def _forward_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    try:
        return forward_flops(model, shape)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"the model cannot take images of shape {shape}: {str(error).splitlines()[0]}",
            expected="a network that takes (batch, channels, height, width) of the data",
            way_out="another model, or dataset.resolution",
        ) from error


def file_digest(path: str) -> str:
    """SHA-256 of a user's file.

    Raises:
        DataError: When it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}.",
            expected="a file with one number an example",
            way_out="check the path",
        ) from None


def source_digest(name: str) -> str:
    """SHA-256 of the file that defines an own model, so that editing the file is a new identity."""
    try:
        return hashlib.sha256(inspect.getsource(inspect.getmodule(find_model(name)) or nn).encode()).hexdigest()
    except (OSError, TypeError):
        return "unavailable"
