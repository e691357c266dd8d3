"""Which network a stage trains or measures: the fields that determine it, and what is known of it before training."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ticketdiet.core.errors import DataError, UserError, first_line
from ticketdiet.core.reading import open_regular
from ticketdiet.data.cache import ImageFacts
from ticketdiet.models.build import build_model, draws_own_weights, find_model, is_own_module
from ticketdiet.models.libraries import library_of, library_version
from ticketdiet.studies.schema import ModelSpec
from ticketdiet.tickets.masks import prunable_names
from ticketdiet.training.batch_norm import batch_norms
from ticketdiet.training.cost import kept_flops, layer_flops, training_flops
from ticketdiet.training.recipe import Recipe

MOST_WEIGHTS = 500_000_000


@dataclass(frozen=True)
class Cost:
    """What a stage takes: SGD steps, examples shown in training, and floating-point operations of the training."""

    steps: int = 0
    examples: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.steps + other.steps, self.examples + other.examples, self.flops + other.flops)


@dataclass(frozen=True)
class Network:
    """A network and the distribution of its initial weights, defaults written out.

    Attributes:
        name: Registered name, or ``package.module:function``.
        width: Channels of the first stage; None for the network's own.
        initialisation: ``"kaiming"``, ``"paper"`` or ``"module"``.
        source: SHA-256 of the file of an own module, so that editing the file is another network; name and version of
            the library of a network of torchvision or timm; otherwise empty.
        num_classes: Outputs.
        in_channels: Channels of an image.
        image_size: Height and width of an image.
    """

    name: str
    width: int | None
    initialisation: str
    source: str
    num_classes: int
    in_channels: int
    image_size: int

    @classmethod
    def of(cls, model: ModelSpec, facts: ImageFacts) -> Network:
        """Return the network of a study for the images that ``facts`` describe.

        Raises:
            UserError: When the images are not square.
        """
        channels, height, width = facts.shape
        if height != width:
            raise UserError(
                f"The images have {height} x {width} pixels.",
                expected="square images",
                way_out="crop or pad the images before loading them",
            )
        return cls(
            name=model.name,
            width=model.width,
            initialisation=model.initialisation or ("module" if draws_own_weights(model.name) else "kaiming"),
            source=source_of(model.name),
            num_classes=facts.num_classes,
            in_channels=channels,
            image_size=height,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.in_channels, self.image_size, self.image_size

    def build(self, seed: int) -> nn.Module:
        """Make the module at the initial weights of ``seed``, on the CPU."""
        return build_model(**self._options(), initialisation=self.initialisation, seed=seed)

    def check_source(self) -> None:
        """Refuse an own module whose file is no longer what it was, and a library of another version.

        Raises:
            UserError: When the file was edited or cannot be found, or the library is another version or missing.
        """
        found = source_of(self.name) if self.source else ""
        if found != self.source and library_of(self.name):
            raise UserError(
                f"The weights of {self.name} were trained with {self.source}, but {found} is installed.",
                expected="the version of the library at training: another may build another network",
                way_out="install that version, or run the study again with this one",
            )
        if found != self.source:
            raise UserError(
                f"The file of model {self.name} is not the one that these weights were trained with.",
                expected="the file as it was at training",
                way_out="restore it, or run the study again with the new one",
            )

    def check_ignored(self, ignore: Iterable[str]) -> None:
        """Refuse names to ignore that match nothing."""
        prunable_names(self._example(), ignore)

    def count_prunable(self, ignore: Iterable[str]) -> int:
        """Number of prunable weights that are not ignored."""
        model = self._example()
        weights = dict(model.named_parameters())
        return sum(weights[name].numel() for name in prunable_names(model, ignore))

    def has_batch_norm(self) -> bool:
        """Whether running statistics of BatchNorm are part of the network."""
        return bool(batch_norms(self._example()))

    def cost(self, recipe: Recipe, steps: int) -> Cost:
        """What ``steps`` of training take."""
        examples = steps * recipe.batch_size
        return Cost(steps, examples, self.training_flops(examples))

    def training_flops(self, examples: int, densities: Mapping[str, float] | None = None) -> int:
        """Count the floating-point operations of a training.

        Args:
            examples: Examples shown, with repetition.
            densities: Density by weight, where only kept weights are to be counted; a weight not named is dense.

        Returns:
            Operations of the forward and backward passes, a multiply-add as two.
        """
        forward = kept_flops(_layer_flops(self._example(), self.shape), densities or {})
        return training_flops(forward, examples)

    def _example(self) -> nn.Module:
        return _build(**self._options())

    def _options(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("name", "width", "num_classes", "in_channels", "image_size")}


@lru_cache(maxsize=16)
def _build(name: str, **sizes: Any) -> nn.Module:
    if not is_own_module(name):
        _check_size(name, sizes)
    return build_model(name, **sizes)


def _check_size(name: str, sizes: dict[str, Any]) -> None:
    """Refuse a network of a known name that would not fit into memory, before any of it is made."""
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in build_model(name, initialisation="module", **sizes).parameters())
    if weights > MOST_WEIGHTS:
        raise UserError(
            f"The model {name} with width {sizes['width']} has {weights:,} weights.",
            expected=f"at most {MOST_WEIGHTS:,} weights",
            way_out="give a smaller model.width, or a smaller dataset.resolution",
        )


@lru_cache(maxsize=16)
def _layer_flops(model: nn.Module, shape: tuple[int, ...]) -> Mapping[str, int]:
    try:
        return layer_flops(model, shape)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"The model cannot take images of shape {shape}: {first_line(error)}",
            expected="a network that takes (batch, channels, height, width) of the data",
            way_out="choose another model, or another dataset.resolution",
        ) from error


def file_digest(path: str) -> str:
    """Return the SHA-256 of a user's file, in hexadecimal digits.

    Raises:
        DataError: When it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise DataError(
            f"The file {path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            expected="a file with one number per example",
            way_out="check the path",
        ) from None


def source_of(name: str) -> str:
    """Return what ``Network.source`` says of a model."""
    if library_of(name):
        return library_version(name)
    return source_digest(name) if is_own_module(name) else ""


def source_digest(name: str) -> str:
    """SHA-256 of the file that defines an own model, so that editing the file is a new identity."""
    try:
        return hashlib.sha256(inspect.getsource(inspect.getmodule(find_model(name)) or nn).encode()).hexdigest()
    except (OSError, TypeError):
        return "unavailable"
