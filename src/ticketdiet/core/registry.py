"""Registries: a name for every dataset, model, score, ... and a door for other packages.

Another package adds one by an entry point in the group ``ticketdiet.<kind>s``, for example ``ticketdiet.scores``. The
docstring of every registry names its group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Generic, TypeVar

from ticketdiet.core.errors import check_known

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name; those of other packages are found through entry points when they are first needed.

    Args:
        kind: Name of one of them in messages, for example ``"mask criterion"``.
        plural: Name of several; the group of entry points is ``ticketdiet.<plural>``, with ``_`` for spaces.
            Default: the kind with an s.
    """

    def __init__(self, kind: str, plural: str | None = None) -> None:
        self.kind = kind
        self.group = "ticketdiet." + (plural or f"{kind}s").replace(" ", "_")
        self._known: dict[str, T] = {}
        self._foreign: dict[str, metadata.EntryPoint] | None = None

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its subject under ``name``."""

        def remember(thing: T) -> T:
            assert name not in self._known, f"{self.kind} {name!r} is registered twice"
            self._known[name] = thing
            return thing

        return remember

    @contextmanager
    def temporarily(self, name: str, thing: T) -> Iterator[T]:
        """Register ``thing`` under ``name`` while the context lasts, in a test or a notebook."""
        self.register(name)(thing)
        try:
            yield thing
        finally:
            del self._known[name]

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self._known, *self._entry_points()})

    def get(self, name: str) -> T:
        """Return the thing with the name ``name``.

        Raises:
            UnknownName: When there is none; the message lists the known names.
        """
        if name not in self._known:
            check_known(self.kind, name, self.names())
            self._known[name] = self._entry_points()[name].load()
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._entry_points()

    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        if self._foreign is None:
            found = metadata.entry_points(group=self.group)
            self._foreign = {point.name: point for point in found}
        return self._foreign
