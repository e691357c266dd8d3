"""The seam between the store and where its files lie: a local folder or any fsspec URL look alike to the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ticketdiet.store.manifest import FileRecord

Seal = Callable[[Mapping[str, FileRecord]], bytes]


class Misplaced(OSError):
    """Something lies in a store that the store never puts there: a link, a device, a file larger than it can be."""


@dataclass(frozen=True)
class FileStat:
    """Size and, on local file systems, times of a file in nanoseconds.

    Attributes:
        bytes: Its size.
        mtime_ns: When its content was changed; anybody can set it.
        ctime_ns: When its content, name, times or permissions were changed; only the file system sets it.
        regular: Whether it is a plain file, and not a link, a folder, a FIFO, a socket or a device.
    """

    bytes: int
    mtime_ns: int | None
    ctime_ns: int | None = None
    regular: bool = True


@dataclass(frozen=True)
class Entry:
    """A file or directory in a directory; ``modified`` is in seconds since 1970, None when unknown."""

    name: str
    is_directory: bool
    modified: float | None


class Place(Protocol):
    """Where files lie. Paths are relative to it and use ``/``; methods raise ``OSError`` as the file system does.

    A local place never follows a symbolic link below its root: reading or listing through one raises ``Misplaced``, and
    removing one removes the link.

    Attributes:
        url: Its name for people.
        atomic: Whether a published directory appears at once; then one without a manifest is damaged, not unfinished.
        shared: Whether other processes see the same files.
    """

    url: str
    atomic: bool
    shared: bool

    def prepare(self) -> None:
        """Make the place and prove that it can be written."""

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of a file; ``Misplaced`` when it has more than ``limit`` bytes or is no plain file."""
        ...

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a plain file, read piece by piece."""
        ...

    def stats(self, directory: str) -> dict[str, FileStat] | None:
        """Return what is known of each entry of a directory, None when the directory does not exist."""
        ...

    def children(self, directory: str) -> list[Entry]:
        """List a directory, sorted by name; empty when it does not exist."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a file so that a reader sees the old content or the new, whole."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet.

        Returns:
            False, with nothing changed, when it is. Of several callers on a local file system one gets True; on
            others that is likely, not certain.
        """
        ...

    def touch(self, path: str, data: bytes) -> float | None:
        """Give a file that holds ``data`` the present as its time, and write it when it is gone.

        Returns:
            That time by the clock of the place, in seconds since 1970; None when the place tells no times.
        """
        ...

    def publish(self, directory: str, files: Mapping[str, bytes], seal: Seal) -> bool:
        """Make a directory of files appear at once, sealed by the manifest that ``seal`` makes of their records.

        Returns:
            False, with nothing changed, when the directory is already there.
        """
        ...

    def set_aside(self, directory: str) -> None:
        """Take a damaged directory out of the way; missing is fine."""

    def remove(self, path: str) -> None:
        """Remove a file or a directory so that no reader sees a half-removed one; missing is fine."""

    def size(self, path: str) -> int:
        """Return the bytes of a file or of all files under a directory."""
        ...


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
