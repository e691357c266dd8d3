"""Copies of what remote stores hold, on this machine: results never change, so that a copy saves the request.

Nothing is believed because it lies here. A file of a result is kept by the checksum of its content, and is compared
with it when it is read. A manifest is kept by its store and the version that the listing shows, and is checked as one
that comes from the store, so that nothing that one store says is taken for another. Whatever goes wrong here costs a
request and nothing else.
"""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

from ticketdiet.core.errors import UserError
from ticketdiet.core.folders import user_cache
from ticketdiet.store.place import sha256

VARIABLE = "TICKETDIET_STORE_CACHE_GB"
GIGABYTES = 4.0  # on disk, when the variable is not set
SMALL = 1 << 16  # bytes of a content that is also kept in memory
MOST_IN_MEMORY = 1 << 27  # bytes of all of them
MEASURED = "measured"  # a file whose time says when the folder was measured last, by any process
SECONDS_BETWEEN_MEASURES = 3600.0
KEPT = 0.8  # fraction of the bound that is kept when it was reached


class Nearby:
    """Contents by name: the small ones in memory, all of them in a folder of bounded size.

    Args:
        folder: The folder; it is made when it is first needed. None to keep only the small ones, in memory.
        most_bytes: Size that the folder may have.
        store: Name of the store whose versions are kept.
    """

    def __init__(self, folder: Path | None, most_bytes: int = 0, store: str = "") -> None:
        self._folder, self._most, self._store = folder, most_bytes, store
        self._small: dict[str, bytes] = {}
        self._in_memory = 0
        self._written = 0  # bytes since the folder was measured

    @classmethod
    def of_user(cls, store: str) -> Nearby:
        """Return the copies in the user's cache folder, whose size ``TICKETDIET_STORE_CACHE_GB`` bounds.

        Args:
            store: Name of the store whose versions are kept.

        Returns:
            The copies; the folder is shared by all stores.

        Raises:
            UserError: When the variable is no number of at least 0.
        """
        given = os.environ.get(VARIABLE, "")
        try:
            gigabytes = float(given or GIGABYTES)
            most_bytes = int(gigabytes * 1e9)
        except (ValueError, OverflowError):
            most_bytes = -1
        if most_bytes < 0:
            raise UserError(
                f"Got {VARIABLE}={given!r}.",
                expected="the most gigabytes that copies of remote results may take, 0 for none",
                way_out=f"unset it, which means {GIGABYTES:g}",
            )
        return cls(user_cache() / "results" if most_bytes else None, most_bytes, store)

    def get(self, checksum: str) -> bytes | None:
        """Return the content with this SHA-256, None when there is no sound copy."""
        data = self._get(checksum)
        if data is not None and sha256(data) != checksum:
            self._drop(checksum)
            return None
        return data

    def get_version(self, version: str) -> bytes | None:
        """Return what was put for a version of an object of the store; the caller checks that it is sound."""
        return self._get(self._own(version))

    def put_version(self, version: str, data: bytes) -> None:
        """Keep a version of an object of the store, named by hexadecimal digits."""
        self._put(self._own(version), data)

    def drop_version(self, version: str) -> None:
        """Forget a version of an object, because it turned out to be wrong."""
        self._drop(self._own(version))

    def put(self, data: bytes) -> None:
        """Keep a content under its SHA-256."""
        self._put(sha256(data), data)

    def _own(self, version: str) -> str:
        return sha256(f"{self._store}\n{version}".encode())

    def _get(self, name: str) -> bytes | None:
        if name in self._small:
            return self._small[name]
        if self._folder is None:
            return None
        try:
            data = self._path(name).read_bytes()
            os.utime(self._path(name))  # what is used stays
        except OSError:
            return None
        self._remember(name, data)
        return data

    def _put(self, name: str, data: bytes) -> None:
        self._remember(name, data)
        if self._folder is None or len(data) > self._most / 4 or self._path(name).exists():
            return
        try:
            self._write(name, data)
        except OSError:  # the disk is full, or may not be written
            self._folder = None

    def _drop(self, name: str) -> None:
        self._in_memory -= len(self._small.pop(name, b""))
        if self._folder is not None:
            with suppress(OSError):
                self._path(name).unlink()

    def _remember(self, name: str, data: bytes) -> None:
        if len(data) <= SMALL and name not in self._small and self._in_memory + len(data) <= MOST_IN_MEMORY:
            self._small[name] = data
            self._in_memory += len(data)

    def _write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{name}.{uuid.uuid4().hex}.tmp")
        try:
            beside.write_bytes(data)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        self._written += len(data)
        if self._written > self._most / 20 or self._was_measured_long_ago():
            self._written = 0
            self._shrink()

    def _was_measured_long_ago(self) -> bool:
        assert self._folder is not None
        try:
            return abs(time.time() - (self._folder / MEASURED).stat().st_mtime) > SECONDS_BETWEEN_MEASURES
        except FileNotFoundError:
            return True

    def _shrink(self) -> None:
        """Remove what was not used for longest, when the folder has more than it may."""
        assert self._folder is not None
        (self._folder / MEASURED).touch()
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):  # another process removed it
                info = path.stat()
                found.append((info.st_mtime, info.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._most:
            return
        for _, size, path in sorted(found, key=lambda one: one[0]):
            if total <= KEPT * self._most:
                break
            with suppress(OSError):
                path.unlink()
                total -= size

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name[:2] / name
