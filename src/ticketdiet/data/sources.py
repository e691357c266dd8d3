"""The data sets by name: what each contains, what it needs, and whether it is on this machine.

Another package adds one through an entry point in the group ``ticketdiet.datasets`` that leads to a
:class:`SourceKind`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ticketdiet.core.errors import check_known
from ticketdiet.core.registry import Registry
from ticketdiet.data.cache import downloads_folder
from ticketdiet.data.decoded import Source
from ticketdiet.data.digits import open_digits
from ticketdiet.data.folders import open_folder
from ticketdiet.data.huggingface import open_huggingface
from ticketdiet.data.npz import open_npz
from ticketdiet.data.parquet import open_parquet
from ticketdiet.data.request import Request, take_apart
from ticketdiet.data.vision import finder, opener


def _nowhere(_: Request) -> str:
    return ""


@dataclass(frozen=True)
class SourceKind:
    """A registered family of sources.

    Attributes:
        what: One line for people.
        open: Opens the source of a request; raises DataError when the request does not fit.
        usage: How a caller writes it, for example ``parquet:PATH``.
        extra: Extra of this package that it needs, or empty.
        find: Returns its location on this machine, or an empty string, without reading the data.
    """

    what: str
    open: Callable[[Request], Source]
    usage: str
    extra: str = ""
    find: Callable[[Request], str] = _nowhere


@dataclass(frozen=True)
class SourceInfo:
    """What ``ticketdiet data`` shows about a source.

    Attributes:
        name: Registered name.
        usage: How a caller writes it.
        what: One line for people.
        extra: Extra of this package that it needs, or empty.
        location: Its location on this machine, or empty; families that read a path have none.
        takes_path: Whether it reads a path that the caller gives.
    """

    name: str
    usage: str
    what: str
    extra: str
    location: str
    takes_path: bool


SOURCES: Registry[SourceKind] = Registry("dataset")


def _register_builtin() -> None:
    torchvision = {
        "mnist": "70 000 handwritten digits, 28x28, grey, 10 classes",
        "fashion-mnist": "70 000 pieces of clothing, 28x28, grey, 10 classes",
        "cifar10": "60 000 photographs, 32x32, RGB, 10 classes",
        "cifar100": "60 000 photographs, 32x32, RGB, 100 classes",
        "svhn": "99 289 house numbers, 32x32, RGB, 10 classes",
    }
    for name, what in torchvision.items():
        SOURCES.register(name)(SourceKind(what, opener(name), name, "vision", finder(name)))
    digits = "1797 handwritten digits, 8x8, grey, 10 classes"
    SOURCES.register("digits")(SourceKind(digits, open_digits, "digits", find=lambda _: "with scikit-learn"))
    parquet = "Hugging Face image layout: train*.parquet and test*.parquet"
    SOURCES.register("parquet")(SourceKind(parquet, open_parquet, "parquet:PATH", "parquet"))
    folder = "PATH/<split>/<class>/*.png, *.jpg; ?train=train,valid&test=test merges split folders, ?size=64 scales"
    SOURCES.register("folder")(SourceKind(folder, open_folder, "folder:PATH", "parquet"))
    hf = "A data set of the library datasets: a folder that save_to_disk wrote, or a name on the Hugging Face Hub"
    SOURCES.register("hf")(SourceKind(hf, open_huggingface, "hf:PATH", "datasets"))
    npz = "x_train y_train x_test y_test, uint8, n x height x width [x channels]"
    SOURCES.register("npz")(SourceKind(npz, open_npz, "npz:PATH"))


_register_builtin()


def open_source(
    source: str, *, root: str | Path | None = None, cache: str | Path | bool | None = None, download: bool = True
) -> Source:
    """Open a source as the caller wrote it.

    Args:
        source: ``name``, ``name:PATH`` or ``name:PATH?option=value``.
        root: Folder that already holds a downloadable data set; nothing is ever downloaded into it.
        cache: Cache folder, which contains the downloads too; see ``cache_folder``.
        download: Whether the network may be used.

    Returns:
        The source; nothing is decoded yet.

    Raises:
        UnknownName: When no source has this name.
        DataError: When the path or an option does not fit the source.
    """
    name, argument, options = take_apart(source)
    if name not in SOURCES:
        check_known("dataset", name, [SOURCES.get(known).usage for known in SOURCES.names()])
    kind = SOURCES.get(name)
    return kind.open(_request(name, argument, options, root, cache, download))


def _request(
    name: str,
    argument: str,
    options: dict[str, str],
    root: str | Path | None,
    cache: str | Path | bool | None,
    download: bool,
) -> Request:
    folder = Path(os.path.expanduser(root)).absolute() if root is not None else None
    return Request(name, argument, options, folder, downloads_folder(cache), download and folder is None)


def describe_sources(
    *, root: str | Path | None = None, cache: str | Path | bool | None = None
) -> tuple[SourceInfo, ...]:
    """Describe every known source, sorted by name; reads no image and needs no extra."""
    found = []
    for name in SOURCES.names():
        kind = SOURCES.get(name)
        location = kind.find(_request(name, "", {}, root, cache, download=False))
        found.append(SourceInfo(name, kind.usage, kind.what, kind.extra, location, ":" in kind.usage))
    return tuple(found)
