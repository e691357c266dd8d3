"""Networks of torchvision and timm by name: ``torchvision:resnet18``, ``timm:resnet10t?drop_rate=0.1``.

They start from random weights that their own constructors draw; pretrained weights are refused, since rewinding needs
the initialisation. What stands after the question mark is handed to the constructor. This is the only place that uses
timm (extra ``timm``), and for networks the only one that uses torchvision (extra ``vision``).
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from torch import nn

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.extras import import_extra

EXTRAS: Mapping[str, str] = {"torchvision": "vision", "timm": "timm"}
FORMS = ("torchvision:NAME", "timm:NAME")
_WORD = re.compile(r"[A-Za-z_][\w.-]*")
_FROM_DATA = frozenset({"num_classes", "in_chans", "in_channels"})
_PRETRAINED = frozenset(
    {"weights", "weights_backbone", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"}
    | {"checkpoint_path", "cache_dir", "progress"}
)


def library_of(name: str) -> str:
    """Return the library that a model is named after, or an empty string."""
    library, colon, _ = name.partition(":")
    return library if colon and library in EXTRAS else ""


def library_version(name: str) -> str:
    """Return the library of a model and its version, which are part of the identity.

    Args:
        name: ``torchvision:NAME`` or ``timm:NAME``.

    Returns:
        For example ``torchvision 0.26.0``, without what tells builds for CPUs and GPUs apart (``+cpu``, ``+cu130``).

    Raises:
        UserError: When the library is not installed; the message names the extra.
    """
    library = library_of(name)
    import_extra(library, EXTRAS[library])
    return f"{library} {metadata.version(library).partition('+')[0]}"


def find_in_library(name: str) -> Callable[..., nn.Module]:
    """Return the function that makes a model of a library.

    Args:
        name: ``torchvision:NAME`` or ``timm:NAME``, with options of its constructor as ``?key=value&key=value``.

    Returns:
        A function of ``num_classes``, ``in_channels`` and ``image_size``.

    Raises:
        UnknownName: When the library has no classifier of this name.
        UserError: When the library is not installed, or an option is not one that a study may choose.
    """
    library, _, rest = name.partition(":")
    short, _, text = rest.partition("?")
    options = _read_options(name, text)
    module = import_extra(library, EXTRAS[library])
    make = _torchvision_model if library == "torchvision" else _timm_model
    known = _names_in_torchvision if library == "torchvision" else module.list_models
    if short not in known():
        error = _unknown(library, short, known())
        raise error
    return functools.partial(_named, make, short, options)


def _unknown(library: str, short: str, known: list[str]) -> UnknownName:
    close = difflib.get_close_matches(short, known, n=5, cutoff=0.3) or known[:5]
    return UnknownName(
        f"Got the unknown {library} model {short!r}.",
        expected=f"one of the {len(known)} classifiers of {library}, for example: {', '.join(close)}",
        way_out=f"correct the name; the documentation of {library} lists them",
    )


def _named(
    make: Callable[..., nn.Module],
    short: str,
    options: dict[str, Any],
    /,
    num_classes: int,
    in_channels: int,
    image_size: int,
) -> nn.Module:
    return make(short, options, num_classes=num_classes, in_channels=in_channels, image_size=image_size)


def _read_options(name: str, text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in text.split("&") if text else []:
        key, equals, value = pair.partition("=")
        if not key.isidentifier() or not equals or key in options:
            raise UserError(
                f"The options of the model {name!r} have the part {pair!r}.",
                expected="NAME?key=value&key=value, each key once",
                way_out="correct the part after the question mark",
            )
        options[key] = _value(name, key, value)
    for key in sorted(options.keys() & (_FROM_DATA | _PRETRAINED)):
        why = "follows the data" if key in _FROM_DATA else "is about pretrained weights"
        raise UserError(
            f"The model {name!r} has the option {key!r}, which {why}.",
            expected="options of the architecture; weights are drawn at random",
            way_out=f"leave {key} out",
        )
    return options


def _value(name: str, key: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = text if _WORD.fullmatch(text) else None
    if not isinstance(value, bool | int | float | str):
        raise UserError(
            f"The option {key}={text} of the model {name!r} is neither a number, a truth value nor a word.",
            expected="a number, true, false, or a word",
            way_out="use a network of your own (package.module:function) for options of another kind",
        )
    return value


def _names_in_torchvision() -> list[str]:
    models = import_extra("torchvision.models", EXTRAS["torchvision"])
    names: list[str] = models.list_models(module=models)  # classifiers only
    return names


def _torchvision_model(
    short: str, options: Mapping[str, Any], *, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    builder = import_extra("torchvision.models", EXTRAS["torchvision"]).get_model_builder(short)
    given = {"image_size": image_size} if short.startswith("vit_") else {}
    if short in ("googlenet", "inception_v3"):
        given |= {"aux_logits": False, "init_weights": True}  # in training one output, as for every other network
    model = _call(builder, short, {**given, **options}, weights=None, num_classes=num_classes)
    if in_channels != 3:
        _set_input_channels(model, in_channels)
    return model


def _timm_model(
    short: str, options: Mapping[str, Any], *, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    models = import_extra("timm.models", EXTRAS["timm"])
    configuration = models.get_pretrained_cfg(short)
    fixed = configuration is not None and configuration.fixed_input_size
    given = {"img_size": image_size} if fixed else {}
    builder = models.model_entrypoint(short)
    return _call(builder, short, {**given, **options}, pretrained=False, num_classes=num_classes, in_chans=in_channels)


def _call(builder: Callable[..., Any], short: str, options: Mapping[str, Any], **fixed: Any) -> nn.Module:
    try:
        model: nn.Module = builder(**fixed, **options)
    except TypeError as error:
        raise UserError(
            f"The model {short!r} does not take these options: {error}.",
            expected=f"options among: {', '.join(_keywords(builder)) or 'none'}",
            way_out="correct the part after the question mark",
        ) from error
    return model


def _keywords(builder: Callable[..., Any]) -> list[str]:
    """Names that the builder and the class that it makes take, as far as their signatures say."""
    try:
        made: Any = typing.get_type_hints(builder).get("return")
    except NameError:
        made = None
    places: list[Callable[..., Any]] = [builder, *([made] if inspect.isclass(made) else [])]
    named = (
        parameter.name
        for place in places
        for parameter in inspect.signature(place).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    )
    return sorted(set(named) - _FROM_DATA - _PRETRAINED)


def _set_input_channels(model: nn.Module, channels: int) -> None:
    """Give the first convolution another number of input channels; PyTorch's default draws its weights."""
    name, first = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    fresh = nn.Conv2d(
        channels,
        first.out_channels,
        (first.kernel_size[0], first.kernel_size[1]),
        stride=(first.stride[0], first.stride[1]),
        padding=first.padding if isinstance(first.padding, str) else (first.padding[0], first.padding[1]),
        bias=first.bias is not None,
    )
    model.set_submodule(name, fresh)
