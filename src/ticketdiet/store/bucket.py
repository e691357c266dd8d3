"""A store on any file system that fsspec knows (s3, gcs, memory, ...): files are written first, the manifest last.

There is no atomic rename of a directory. Therefore the name of each file begins with its checksum: two writers of one
address never overwrite each other's files, and the manifest that is written last names a consistent set.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ticketdiet.store.failures import unwritable
from ticketdiet.store.manifest import MANIFEST, FileRecord, prefixed
from ticketdiet.store.place import Entry, FileStat, Misplaced, Seal, sha256

PIECE = 1 << 24
TIMES = ("LastModified", "last_modified", "created", "mtime", "updated")


class Bucket:
    """A place on an fsspec file system; see ``Place`` for its methods."""

    atomic = False

    def __init__(self, url: str, filesystem: Any, root: str) -> None:
        self.url = url
        self.shared = not _is_memory(filesystem)
        self._files = filesystem
        self._root = root.rstrip("/")

    def prepare(self) -> None:
        """Write and remove a small object, to check that the place can be written."""
        try:
            self.replace("tmp/probe", b"")
            self._files.rm_file(self._full("tmp/probe"))
        except OSError as error:
            raise unwritable(self.url, error) from error

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of a file; more than ``limit`` bytes are refused only after they were downloaded."""
        data = bytes(self._files.cat_file(self._full(path)))
        if limit is not None and len(data) > limit:
            raise Misplaced(f"{path} has more than {limit} bytes")
        return data

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, read piece by piece."""
        digest = hashlib.sha256()
        with self._files.open(self._full(path), "rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def stats(self, directory: str) -> dict[str, FileStat] | None:
        """Return the size of each file in a directory, without times, which a copy would change."""
        found = self._list(directory)
        if not found:
            return None
        return {_name(info): FileStat(int(info["size"] or 0), None, regular=info["type"] == "file") for info in found}

    def children(self, directory: str) -> list[Entry]:
        """List a directory, sorted by name."""
        entries = [Entry(_name(info), info["type"] == "directory", _modified(info)) for info in self._list(directory)]
        return sorted(entries, key=lambda entry: entry.name)

    def replace(self, path: str, data: bytes) -> None:
        """Write an object, which object stores do atomically."""
        full = self._full(path)
        self._files.makedirs(full.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(full, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object that is not there yet, and read it back, because few object stores refuse a second writer."""
        full = self._full(path)
        self._files.invalidate_cache()
        if self._files.exists(full):
            return False
        self.replace(path, data)
        try:
            return self.read(path) == data
        except FileNotFoundError:
            return False

    def touch(self, path: str, data: bytes) -> float | None:
        """Write the object again; the file system sets its time."""
        self.replace(path, data)
        self._files.invalidate_cache()
        return _modified(self._files.info(self._full(path)))

    def publish(self, directory: str, files: Mapping[str, bytes], seal: Seal) -> bool:
        """Upload the files and then the manifest; ``False`` when a manifest is already there."""
        if self._files.exists(self._full(f"{directory}/{MANIFEST}")):
            return False
        records = {}
        for name, data in files.items():
            checksum = sha256(data)
            path = prefixed(name, checksum)
            self.replace(f"{directory}/{path}", data)
            records[name] = FileRecord(path=path, bytes=len(data), sha256=checksum)
        self.replace(f"{directory}/{MANIFEST}", seal(records))
        return True

    def set_aside(self, directory: str) -> None:
        """Remove it, because moving objects would copy them."""
        self.remove(directory)

    def remove(self, path: str) -> None:
        """Remove the manifest first, so that no reader uses a half-removed result."""
        full = self._full(path)
        for victim in (f"{full}/{MANIFEST}", full):
            with contextlib.suppress(FileNotFoundError):  # another run removes it at the same time
                if self._files.exists(victim):
                    self._files.rm(victim, recursive=True)
        self._files.invalidate_cache()

    def size(self, path: str) -> int:
        """Return the bytes of a file or of all files under a directory."""
        return int(self._files.du(self._full(path)))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _list(self, directory: str) -> list[dict[str, Any]]:
        # A cached listing would hide what other runs write.
        self._files.invalidate_cache()
        try:
            return list(self._files.ls(self._full(directory), detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return []


def _is_memory(filesystem: Any) -> bool:
    """Whether the files are in the memory of this process, below any number of caches."""
    while filesystem is not None:
        if "memory" in (filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,)):
            return True
        filesystem = getattr(filesystem, "fs", None)
    return False


def _name(info: Mapping[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]


def _modified(info: Mapping[str, Any]) -> float | None:
    for key in TIMES:
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
