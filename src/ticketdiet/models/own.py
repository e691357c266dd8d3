"""Modules of the user's own, by import path: ``mypackage.nets:make``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ticketdiet.core.errors import UserError


def import_factory(path: str) -> Callable[..., nn.Module]:
    """Import the function or class that ``path`` names, as ``package.module:attribute``.

    The current directory comes first in the path of imports, as with ``python -m``.

    Args:
        path: The import path.

    Returns:
        The function or class.

    Raises:
        UserError: When the path has another form, the module or attribute is missing, its import fails, or the
            attribute cannot be called to make a module.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise UserError(
            f"The model {path!r} is not a complete import path.",
            expected="'package.module:function'",
            way_out="name the function that makes the network",
        )
    thing: Any = _import_module(module_name, path)
    for part in attribute.split("."):
        if not hasattr(thing, part):
            raise UserError(
                f"The model {path!r} does not exist: {module_name} has no {attribute!r}.",
                expected="a function or class that returns a torch.nn.Module",
                way_out=f"it defines: {', '.join(_public_callables(thing)) or 'nothing that can be called'}",
            )
        thing = getattr(thing, part)
    if isinstance(thing, nn.Module) or not callable(thing):
        raise UserError(
            f"The model {path!r} is a {type(thing).__name__}.",
            expected="a function or class that returns a new torch.nn.Module",
            way_out="name the function that makes the network, not the network",
        )
    factory: Callable[..., nn.Module] = thing
    return factory


def call_factory(factory: Callable[..., object], keywords: Mapping[str, int | None], *, name: str) -> nn.Module:
    """Call ``factory`` with those of ``keywords`` that it accepts.

    Args:
        factory: The function or class that makes the network.
        keywords: ``num_classes``, ``in_channels``, ``image_size`` and ``width``; a width of None is left out.
        name: Name of the model in messages.

    Returns:
        The module.

    Raises:
        UserError: When there is a width and the factory takes none, the factory needs other arguments or fails, or it
            does not return a module.
    """
    accepted = _accepted(factory, keywords)
    given = {key: value for key, value in keywords.items() if key in accepted and value is not None}
    if keywords.get("width") is not None and "width" not in accepted:
        raise UserError(
            f"The model {name!r} takes no width, but got width {keywords['width']}.",
            expected=f"only these keywords: {', '.join(accepted) or 'none'}",
            way_out=f"leave the width out, or let {name} take a keyword 'width'",
        )
    try:
        made = factory(**given)
    except UserError:
        raise
    except Exception as error:
        arguments = ", ".join(f"{key}={value}" for key, value in given.items())
        raise UserError(
            f"The model {name!r} failed when called with ({arguments}): {type(error).__name__}: {error}.",
            expected="a torch.nn.Module from these arguments",
            way_out="make the same call in Python, and correct what fails",
        ) from error
    if not isinstance(made, nn.Module):
        raise UserError(
            f"The model {name!r} returned a {type(made).__name__}.",
            expected="a torch.nn.Module",
            way_out="return the network from the function",
        )
    return made


def _accepted(factory: Callable[..., object], keywords: Mapping[str, int | None]) -> tuple[str, ...]:
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return tuple(keywords)
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(key for key in keywords if key in parameters and parameters[key].kind in by_name)


def _import_module(module_name: str, path: str) -> object:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UserError(
                f"The model {path!r} cannot be imported: there is no module {error.name!r}.",
                expected=f"an installed module, or one under {here}",
                way_out="check the spelling, install the package, or run from the folder that contains it",
            ) from error
        raise _import_failed(path, module_name, error) from error
    except Exception as error:
        raise _import_failed(path, module_name, error) from error


def _import_failed(path: str, module_name: str, error: Exception) -> UserError:
    return UserError(
        f"The model {path!r} cannot be imported: {module_name} fails with {type(error).__name__}: {error}.",
        expected="a module that can be imported",
        way_out=f"make `python -c 'import {module_name}'` work first",
    )


def _public_callables(thing: object) -> list[str]:
    return sorted(name for name, value in vars(thing).items() if callable(value) and not name.startswith("_"))
