"""Building a plain ``nn.Module`` from the name of a model.

Another package adds a model with ``MODELS.register(name)`` or an entry point in the group ``ticketdiet.models``. A
function of your own needs neither: its import path is its name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import torch
from torch import nn

from ticketdiet.core.errors import UnknownName, UserError, check_known
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import derive_seed
from ticketdiet.models.feedforward import VGG, LeNet300100
from ticketdiet.models.initialisation import INITIALISATIONS, initialise
from ticketdiet.models.libraries import FORMS, find_in_library, library_of
from ticketdiet.models.own import call_factory, import_factory
from ticketdiet.models.resnet import MOST_CIFAR_LAYERS, cifar_resnet, is_cifar_depth, lowres_resnet18, lowres_resnet50

ModelFactory = Callable[..., nn.Module]

MODELS: Registry[ModelFactory] = Registry("model")
MODELS.register("vgg16")(VGG)
MODELS.register("lenet_300_100")(LeNet300100)
MODELS.register("lowres_resnet18")(lowres_resnet18)
MODELS.register("lowres_resnet50")(lowres_resnet50)

_CIFAR_NAME = re.compile(r"resnet[-_]?(\d{1,6})")
CIFAR_FAMILY = f"resnetN (N = 6n+2: 8, 14, 20, ..., {MOST_CIFAR_LAYERS})"
OWN_MODULES = "package.module:function"


def model_names() -> list[str]:
    """Return all models for people: registered names, the CIFAR family, libraries, the form of an import path."""
    return [*MODELS.names(), CIFAR_FAMILY, *FORMS, OWN_MODULES]


def is_own_module(name: str) -> bool:
    """Whether ``name`` is the import path of a user's own module."""
    return ":" in name and not library_of(name)


def draws_own_weights(name: str) -> bool:
    """Whether the module's constructor draws the initial weights by default: for modules of other people."""
    return ":" in name


def find_model(name: str) -> ModelFactory:
    """Return the function or class that makes a model, without calling it.

    ``resnetN`` is the CIFAR ResNet of N layers for every N = 6n+2, including ``resnet50``; the ImageNet architectures
    are ``lowres_resnet18`` and ``lowres_resnet50``.

    Args:
        name: As for ``build_model``.

    Returns:
        A function of ``num_classes``, ``in_channels``, ``image_size`` and ``width``, or of some of them.

    Raises:
        UnknownName: When no model has this name.
        UserError: When an import path cannot be imported, or a library is not installed.
    """
    if library_of(name):
        return find_in_library(name)
    if is_own_module(name):
        return import_factory(name)
    if name in MODELS:
        return MODELS.get(name)
    found = _CIFAR_NAME.fullmatch(name)
    if found is None:
        error = UnknownName.of("model", name, model_names())
        raise error
    depth = int(found[1])
    if not is_cifar_depth(depth):
        error = _no_such_depth(name, depth)
        raise error
    return functools.partial(cifar_resnet, depth)


def _no_such_depth(name: str, depth: int) -> UnknownName:
    other = f"lowres_resnet{depth}"
    below = min(max(8, depth - (depth - 2) % 6), MOST_CIFAR_LAYERS - 6)
    neighbours = f"'resnet{below}' or 'resnet{below + 6}'"
    way_out = f"use {neighbours}"
    if other in MODELS:
        way_out = f"use {other!r} for the ImageNet architecture with a 3x3 stem, or {neighbours} of the CIFAR family"
    return UnknownName(
        f"Got the unknown model {name!r}: {depth} is not 6n+2 from 8 to {MOST_CIFAR_LAYERS}.",
        expected=f"one of: {', '.join(model_names())}",
        way_out=way_out,
    )


def build_model(
    name: str,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    width: int | None = None,
    initialisation: str | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a model on the CPU in float32; equal arguments give equal weights.

    Args:
        name: A registered name, ``resnetN``, ``torchvision:NAME``, ``timm:NAME``, or the import path
            ``package.module:function`` of your own module. Your function gets those of ``num_classes``,
            ``in_channels``, ``image_size`` and ``width`` that it accepts.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        image_size: Height and width of the images in pixels.
        width: Channels (or units) of the first stage; None for the model's own.
        initialisation: ``"kaiming"``, ``"paper"`` (see :func:`~ticketdiet.models.initialisation.initialise`) or
            ``"module"``, which keeps what the constructor draws. None is ``"kaiming"``, or ``"module"`` for your own
            and those of torchvision and timm.
        seed: Seed of all random draws. The global generator is left as it was, even if a constructor uses it.

    Returns:
        The module, in training mode.

    Raises:
        UnknownName: When the model or the initialisation is not known.
        UserError: When a size is not positive, or your own module cannot be made.

    Example:
        >>> sum(parameter.numel() for parameter in build_model("resnet20").parameters())
        272474
    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size, "width": width}
    for key, value in sizes.items():
        if value is not None and value < 1:
            raise UserError(f"Got {key}={value}.", expected="a whole number of at least 1", way_out=f"correct {key}")
    if initialisation is None:
        initialisation = "module" if draws_own_weights(name) else "kaiming"
    check_known("initialisation", initialisation, INITIALISATIONS)
    with torch.random.fork_rng(devices=[]):
        factory = find_model(name)
        # After the import, because random draws during an import must not change those of the function.
        torch.manual_seed(derive_seed(seed, "constructor"))
        model = call_factory(factory, sizes, name=name)
    initialise(model, initialisation, seed)
    return model
