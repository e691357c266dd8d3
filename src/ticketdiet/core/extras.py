"""Modules that are not installed with the package itself, but with one of its extras."""

from __future__ import annotations

import importlib
from types import ModuleType

from ticketdiet.core.errors import UserError


def import_extra(module: str, extra: str, *, other: str = "") -> ModuleType:
    """Import a module that only an extra of this package installs.

    Args:
        module: Full name of the module.
        extra: Name of the extra.
        other: What the caller can do without it, as an imperative; empty when nothing.

    Returns:
        The module.

    Raises:
        UserError: When the module cannot be imported; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"The module {module!r} cannot be imported ({error}).",
            expected=f"the extra {extra!r}",
            way_out=f"pip install 'ticketdiet[{extra}]'" + (f", or {other}" if other else ""),
        ) from error
