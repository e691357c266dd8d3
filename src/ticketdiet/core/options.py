"""Options of registered classes: each class declares what it takes, and they are read in one place.

A class that is registered under a name (an optimiser, a loss, a criterion, ...) declares a nested ``Options``. What a
study or a caller gives by name is checked against it, so that a key that nobody reads is an error and not a silence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ticketdiet.core.errors import UserError, shown
from ticketdiet.core.registry import Registry

C = TypeVar("C", bound="Configurable")


class BaseOptions(BaseModel):
    """Base of a class's ``Options``: a frozen pydantic model that refuses unknown keys. By itself it has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Configurable:
    """Base of a kind of registered classes: one instance holds its checked options.

    Args:
        options: Option -> value, as far as they differ from the defaults.

    Attributes:
        kind: What these classes are called in messages, for example ``"optimiser"``.
        Options: The options of the class; a subclass nests a ``class Options(BaseOptions)`` of its own.
        options: The checked options of this instance.

    Raises:
        UserError: For an option that the class does not have, or a value that it does not take.
    """

    kind: ClassVar[str] = "class"
    Options: ClassVar[type[BaseOptions]] = BaseOptions
    options: Any

    def __init__(self, options: Mapping[str, object] | None = None) -> None:
        self.options = self.read_options(options)

    @classmethod
    def read_options(cls, options: Mapping[str, object] | None = None, name: str | None = None) -> BaseOptions:
        """Check options without making an instance.

        Args:
            options: Option -> value, as far as they differ from the defaults.
            name: Name of the class in messages; by default the words of its own name.

        Returns:
            The checked options, with defaults filled in.

        Raises:
            UserError: For an option that the class does not have, or a value that it does not take.
        """
        try:
            return cls.Options.model_validate(dict(options or {}))
        except ValidationError as error:
            raise cls._refusal(error, name or readable(cls.__name__)) from error

    @classmethod
    def _refusal(cls, error: ValidationError, name: str) -> UserError:
        detail = error.errors()[0]
        key, known = str(detail["loc"][0]) if detail["loc"] else "", list(cls.Options.model_fields)
        owner = f"{cls.kind} {name!r}"
        if detail["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, known, n=1)
            return UserError(
                f"The {owner} has no option {key!r}.",
                expected=f"options among: {', '.join(known)}" if known else "no options",
                way_out=f"did you mean {near[0]!r}?" if near else f"leave {key} out",
            )
        if detail["type"] == "missing":
            return UserError(
                f"The {owner} lacks its option {key!r}.",
                expected=cls.Options.model_fields[key].description or f"a value for {key}",
                way_out=f"give {key}",
            )
        return UserError(
            f"The {owner} got {shown(detail['input'])} for its option {key!r}.",
            expected=_expected(str(detail["msg"])),
            way_out=f"correct {key}, or leave it out" if key else "correct the options",
        )


def checked(registry: Registry[type[C]], name: str, options: Mapping[str, object] | None = None) -> type[C]:
    """Return the class that ``registry`` knows as ``name`` if it takes ``options``.

    Raises:
        ValueError: When there is none, or it does not take them; in one line, as pydantic puts a path before it.
    """
    try:
        found = registry.get(name)
        found.read_options(options, name)
    except UserError as error:
        raise ValueError(f"{error.came.rstrip('.')}; expected {error.expected}; {error.way_out}") from error
    return found


def written_out(registry: Registry[type[C]], name: str, options: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return ``options`` of the class that ``registry`` knows as ``name``, JSON-able, its defaults written out.

    Raises:
        UserError: As :func:`make`.
    """
    return registry.get(name).read_options(options, name).model_dump(mode="json")


def make(registry: Registry[type[C]], name: str, options: Mapping[str, object] | None = None) -> C:
    """Make an instance of the class that ``registry`` knows as ``name``.

    Args:
        registry: Where the class is registered.
        name: Name of the class.
        options: Option -> value, as far as they differ from the defaults.

    Returns:
        The instance.

    Raises:
        UnknownName: When no class has this name; the message lists the known names.
        UserError: For an option that the class does not have, or a value that it does not take.
    """
    found = registry.get(name)
    found.read_options(options, name)  # the class does not know its name, and messages should have it
    return found(options)


def _expected(message: str) -> str:
    """What pydantic says of a value, as what was expected."""
    if not message.startswith("Input should be "):
        return message.removeprefix("Value error, ")
    rest = message.removeprefix("Input should be ")
    return rest if rest.startswith(("a ", "'")) else f"a value {rest}"


def readable(class_name: str) -> str:
    """Return the name of a class in words: ``"SquaredError"`` is ``"squared error"``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", class_name).lower()
