"""The interface between the store and its files, which is the same for a local folder and for any fsspec URL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ticketdiet.store.manifest import FileRecord

Seal = Callable[[Mapping[str, FileRecord]], bytes]


class Misplaced(OSError):
    """There is something in the store that the store never writes: a link, a device, or a file that is too large."""


@dataclass(frozen=True)
class FileStat:
    """Size and, on local file systems, times of a file in nanoseconds.

    Attributes:
        bytes: Its size.
        mtime_ns: Time of the last change of its content; any program can set it.
        ctime_ns: Time of the last change of content, name, times or permissions; only the file system sets it.
        regular: Whether it is a plain file, and not a link, a folder, a FIFO, a socket or a device.
        version: On other file systems, what tells this content from another: the ETag of an object store, or a time.
    """

    bytes: int
    mtime_ns: int | None
    ctime_ns: int | None = None
    regular: bool = True
    version: str = ""


@dataclass(frozen=True)
class Entry:
    """A file or directory in a directory; ``modified`` is in seconds since 1970, None when unknown."""

    name: str
    is_directory: bool
    modified: float | None


class Place(Protocol):
    """A place for files. Paths are relative to it and use ``/``; methods raise ``OSError`` as the file system does.

    A local place never follows a symbolic link below its root: reading or listing through one raises ``Misplaced``, and
    removing one removes the link.

    Attributes:
        url: Its name for people.
        atomic: Whether a directory is published atomically; then one without a manifest is damaged, not unfinished.
        shared: Whether other processes see the same files.
    """

    url: str
    atomic: bool
    shared: bool

    def prepare(self) -> None:
        """Make the place and check that it can be written."""

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of a file; ``Misplaced`` when it has more than ``limit`` bytes or is no plain file."""
        ...

    def start(self, path: str, count: int) -> bytes:
        """Return the first ``count`` bytes of a file, or all of a shorter one, without reading the rest."""
        ...

    def read_many(self, paths: Collection[str], limit: int) -> dict[str, bytes | OSError]:
        """Return the content of each file, or what ``read`` would raise for it; remote files are read together."""
        ...

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a plain file, read piece by piece."""
        ...

    def stats(self, directory: str) -> dict[str, FileStat] | None:
        """Return size and times of each entry of a directory, None when the directory does not exist."""
        ...

    def stats_many(self, directories: Collection[str]) -> dict[str, dict[str, FileStat] | None]:
        """Return ``stats`` of many directories, with few requests where a request takes long."""
        ...

    def stat(self, path: str) -> FileStat | None:
        """Return size and times of one file, None when there is none; object stores know it before they list it."""
        ...

    def children(self, directory: str) -> list[Entry]:
        """List a directory, sorted by name; empty when it does not exist."""
        ...

    def grandchildren(self, directory: str, folders: re.Pattern[str]) -> list[tuple[str, str]]:
        """Return the names in the folders of a directory that match a pattern, each after that of its folder."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a file so that a reader sees either the whole old content or the whole new content."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet.

        Returns:
            False, with nothing changed, when it is there already. Exactly one of several callers gets True on a local
            file system, and on an object store that refuses the second of two writers; on others this is likely, but
            not certain.
        """
        ...

    def touch(self, path: str, data: bytes) -> float | None:
        """Set the time of a file with content ``data`` to now, and write the file when it is missing.

        Returns:
            This time by the clock of the place, in seconds since 1970; None when the place has no times.
        """
        ...

    def publish(self, directory: str, files: Mapping[str, bytes], seal: Seal) -> bool:
        """Publish a directory of files, with the manifest that ``seal`` makes from their records.

        Returns:
            False, with nothing changed, when the directory is already there.
        """
        ...

    def set_aside(self, directory: str) -> None:
        """Move or remove a damaged directory; a missing one is fine."""

    def remove(self, path: str) -> None:
        """Remove a file or a directory so that no reader sees a half-removed one; a missing one is fine."""

    def unlink(self, path: str) -> None:
        """Remove what is known to be one file; a missing one is fine."""

    def size(self, path: str) -> int:
        """Return the bytes of a file or of all files under a directory."""
        ...


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
