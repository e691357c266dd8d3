"""What every family of sources hands over, and how a source is asked for.

A source is written ``name``, ``name:PATH`` or ``name:PATH?option=value&option=value``. A family is one small file with
one function that opens a request; ``sources.py`` lists the families under their names.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from ticketdiet.core.errors import DataError, UserError

Progress = Callable[[int, int], None]  # (images done, images in total)

MAX_CLASSES = 65_536
_OPTIONS = re.compile(r"^(?P<path>.*?)\?(?P<options>\w+=[^?&=]*(?:&\w+=[^?&=]*)*)$", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images of a source as they are on disk, before any option.

    Attributes:
        train_pixels: uint8 of shape (n, channels, height, width).
        train_labels: int64 of shape (n,), in ``[0, len(class_names))``.
        test_pixels: uint8 of shape (m, channels, height, width).
        test_labels: int64 of shape (m,).
        class_names: One name a class.
    """

    train_pixels: np.ndarray
    train_labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


class Source(Protocol):
    """A source that was found: cheap to identify, slower to decode."""

    def identity(self) -> Mapping[str, object]:
        """JSON-able fields that change whenever the decoded images may change; raises DataError if nothing is there."""
        ...

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Read everything; ``progress`` is called now and then with (images done, images in total)."""
        ...


@dataclass(frozen=True)
class Request:
    """A source as the caller wrote it, taken apart.

    Attributes:
        name: Registered name of the family or data set.
        argument: What stood after the colon, without options; empty when nothing did.
        options: The ``?key=value`` pairs.
        root: Folder where the files of a downloadable data set already lie, or None for the package's own.
        downloads: Folder that may be downloaded into.
        download: Whether the network may be used.
    """

    name: str
    argument: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    downloads: Path = Path()
    download: bool = True

    @property
    def path(self) -> Path:
        """The argument as an absolute path; raises DataError when it is missing or leads nowhere."""
        if not self.argument:
            raise DataError(f"{self.name!r} without a path.", expected=f"{self.name}:PATH", way_out="add the path")
        path = Path(os.path.expanduser(self.argument)).absolute()
        if not os.path.exists(path):  # also when the name is too long to be one
            raise DataError(
                f"{path} does not exist.", expected=f"data for {self.name}:PATH", way_out="correct the path"
            )
        return path

    def check(self, known: Sequence[str] = (), *, takes_path: bool) -> None:
        """Refuse a path where the family takes none, and options that it does not know."""
        if self.argument and not takes_path:
            raise DataError(
                f"{self.name!r} with the path {self.argument!r}.",
                expected=f"{self.name!r} alone",
                way_out="leave the path out; the option root says where its files lie",
            )
        for key in sorted(set(self.options) - set(known)):
            raise DataError(
                f"option {key!r} in the source {self.name!r}.",
                expected=f"one of: {', '.join(sorted(known))}" if known else "no options",
                way_out="correct the part after the question mark",
            )


def take_apart(source: str) -> tuple[str, str, dict[str, str]]:
    """Split ``name:PATH?key=value`` into name, path and options; a path may itself hold a question mark."""
    name, _, argument = source.partition(":")
    match = _OPTIONS.match(argument)
    if match is None:
        return name, argument, {}
    pairs = (pair.partition("=") for pair in match["options"].split("&"))
    return name, match["path"], {key: value for key, _, value in pairs}


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module that only an extra of this package installs.

    Raises:
        UserError: When it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"the module {module!r} cannot be imported ({error}).",
            expected=f"the extra {extra!r}",
            way_out=f"pip install 'ticketdiet[{extra}]'",
        ) from error


def stamp_files(paths: Iterable[Path]) -> list[list[object]]:
    """Path, size and modification time (ns) of every file: what tells a changed file from an unchanged one."""
    stats = ((path, path.stat()) for path in paths)
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def reason_of(error: Exception) -> str:
    """Say why numpy refused a file, without its advice to unpickle it."""
    return "it holds pickled objects, or is no numpy file at all" if "pickle" in str(error) else str(error)


def checked_labels(labels: np.ndarray, num_images: int, where: str, num_classes: int | None = None) -> np.ndarray:
    """Return ``labels`` as int64 of shape (num_images,).

    Args:
        labels: Integers of shape (n,) or (n, 1).
        num_images: How many there must be.
        where: The file or array, for messages.
        num_classes: Exclusive upper bound, or None when only absurd values are refused.

    Raises:
        DataError: For another shape, type, count or range.
    """
    flat = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DataError(
            f"{where} holds labels of shape {labels.shape} and dtype {labels.dtype}.",
            expected="integers of shape (n,)",
            way_out="store class numbers from 0, one an image",
        )
    if len(flat) != num_images or num_images == 0:
        raise DataError(
            f"{where} holds {len(flat)} labels for {num_images} images.",
            expected="one label an image, and at least one image",
            way_out="check that images and labels come from the same split",
        )
    bound = MAX_CLASSES if num_classes is None else num_classes
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high >= bound:
        raise DataError(
            f"{where} holds labels from {low} to {high}.",
            expected=f"labels in [0, {bound - 1}]",
            way_out="number the classes from 0 without gaps, or name every class",
        )
    return flat.astype(np.int64)
