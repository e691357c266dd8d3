"""The data sets by name: what each is, what it needs, whether it is on this machine.

Another package adds one through an entry point in the group ``ticketdiet.datasets`` that leads to a :class:`SourceKind`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ticketdiet.core.registry import Registry
from ticketdiet.data.decoded import Request, Source, take_apart
from ticketdiet.data.digits import open_digits


def _nowhere(request: Request) -> str:
    return ""


@dataclass(frozen=True)
class SourceKind:
    """A registered family of sources.

    Attributes:
        what: One line for people.
        open: Makes a source of a request; raises DataError when the request is malformed.
        usage: How it is written, for example ``parquet:PATH``.
        extra: Extra of this package that it needs, or empty.
        find: Where it lies on this machine, or empty; asked without opening anything.
    """

    what: str
    open: Callable[[Request], Source]
    usage: str
    extra: str = ""
    find: Callable[[Request], str] = _nowhere


SOURCES: Registry[SourceKind] = Registry("dataset")

SOURCES.register("digits")(
    SourceKind(
        "1797 handwritten digits, 8x8, grey, 10 classes", open_digits, "digits", find=lambda _: "bundled (scikit-learn)"
    )
)


def open_source(source: str, *, root: Path | None, downloads: Path, download: bool = True) -> Source:
    """Open a source as the caller wrote it.

    Args:
        source: ``name``, ``name:PATH`` or ``name:PATH?option=value``.
        root: Folder where a downloadable data set already lies; nothing is ever downloaded into it.
        downloads: Folder for downloads.
        download: Whether the network may be used.

    Raises:
        UnknownName: When no family has this name.
        DataError: When path or options do not fit the family.
    """
    name, argument, options = take_apart(source)
    request = Request(name, argument, options, root, downloads, download and root is None)
    return SOURCES.get(name).open(request)
