"""A store on any file system that fsspec knows (s3, gcs, memory, ...): files are written first, the manifest last.

There is no atomic rename of a directory. Therefore the name of each file begins with its checksum: two writers of one
address never overwrite each other's files, and the manifest that is written last names a consistent set.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from ticketdiet.store.failures import unwritable
from ticketdiet.store.manifest import MANIFEST, FileRecord, prefixed
from ticketdiet.store.place import Entry, FileStat, Misplaced, Seal, sha256
from ticketdiet.store.remote import Remote, protocols_of

PIECE = 1 << 24
TIMES = ("LastModified", "last_modified", "created", "mtime", "updated")
OBJECT_STORES = {"s3", "s3a", "gs", "gcs"}  # which have no folders, and list what begins with given letters
WITH_CONDITIONS = {"s3", "s3a"}  # where fsspec can ask to write an object only if there is none
FEW = 16  # folders that are listed one by one; more are listed together
PREFIXES = "0123456789abcdef"
REFUSALS = {errno.EINVAL, errno.EBUSY, errno.ENOSYS, errno.EIO}  # of a conditional write, by servers other than AWS


class Bucket:
    """A place on an fsspec file system; see ``Place`` for its methods.

    Args:
        url: Its name for people.
        filesystem: The file system.
        root: Path of the place on it.
        pause: Function that waits a number of seconds before something is tried again.
    """

    atomic = False

    def __init__(self, url: str, filesystem: Any, root: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.url = url
        protocols, below = protocols_of(filesystem), _protocols_below(filesystem)
        self.shared = "memory" not in below
        self._has_folders = below.isdisjoint({*OBJECT_STORES, "memory"})
        self._lists_prefixes = bool(protocols & OBJECT_STORES)
        self._refuses_second: bool | None = None if protocols & WITH_CONDITIONS else False
        self._files = filesystem
        self._call = Remote(filesystem, pause)
        self._root = root.rstrip("/")

    def prepare(self) -> None:
        """Write and remove a small object, to check that the place can be written."""
        probe = f"tmp/probe.{uuid.uuid4().hex}"
        try:
            self.replace(probe, b"")
            self.unlink(probe)
        except OSError as error:
            raise unwritable(self.url, error) from error

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of a file; more than ``limit`` bytes are refused only after they were downloaded."""
        return _limited(path, self._call.content(self._full(path)), limit)

    def start(self, path: str, count: int) -> bytes:
        """Return the first bytes of a file with one request."""
        return bytes(self._call("cat_file", self._full(path), start=0, end=count))

    def read_many(self, paths: Collection[str], limit: int) -> dict[str, bytes | OSError]:
        """Return the content of each file, or why it cannot be read; many are read at the same time."""
        contents = self._call.contents([self._full(path) for path in paths])
        return {path: _checked(path, content, limit) for path, content in zip(paths, contents, strict=True)}

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, read piece by piece."""
        return str(self._call.attempt(lambda: self._digest(path)))

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with self._files.open(self._full(path), "rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def stats(self, directory: str) -> dict[str, FileStat] | None:
        """Return the size of each file in a directory, without times, which a copy would change."""
        found = self._list(directory)
        return {_name(info): _stat(info) for info in found} if found else None

    def stats_many(self, directories: Collection[str]) -> dict[str, dict[str, FileStat] | None]:
        """Return ``stats`` of many directories; all that are beside them are listed together with them."""
        if len(directories) <= FEW:
            return {directory: self.stats(directory) for directory in directories}
        found: dict[str, dict[str, FileStat]] = {}
        for top in sorted({directory.partition("/")[0] for directory in directories}):
            for path, info in self._tree(top):
                parent, _, name = path.rpartition("/")
                found.setdefault(parent, {})[name] = _stat(info)
        return {directory: found.get(directory) for directory in directories}

    def stat(self, path: str) -> FileStat | None:
        """Return the size of one file, which is known before a listing shows it; None when there is none."""
        self._files.invalidate_cache()
        try:
            info = self._call("info", self._full(path))
        except FileNotFoundError:
            return None
        return _stat(info)

    def children(self, directory: str) -> list[Entry]:
        """List a directory, sorted by name."""
        entries = [Entry(_name(info), info["type"] == "directory", _modified(info)) for info in self._list(directory)]
        return sorted(entries, key=lambda entry: entry.name)

    def grandchildren(self, directory: str, folders: re.Pattern[str]) -> list[tuple[str, str]]:
        """Return the names in the folders of a directory that match a pattern, each after that of its folder."""
        parts = (path.removeprefix(f"{directory}/").split("/") for path, _ in self._tree(directory))
        return sorted({(part[0], part[1]) for part in parts if len(part) > 1 and folders.fullmatch(part[0])})

    def replace(self, path: str, data: bytes) -> None:
        """Write an object, which object stores do atomically."""
        full = self._full(path)
        if self._has_folders:
            self._call("makedirs", full.rpartition("/")[0], exist_ok=True)
        self._call("pipe_file", full, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object that is not there yet; where the server refuses a second writer, exactly one succeeds."""
        if self._is_exclusive():
            return self._create_exclusively(path, data)
        if self._content(path) is not None:
            return False
        self.replace(path, data)
        return self._content(path) == data

    def touch(self, path: str, data: bytes) -> float | None:
        """Write the object again; the file system sets its time."""
        self.replace(path, data)
        self._files.invalidate_cache()
        return _modified(self._call("info", self._full(path)))

    def publish(self, directory: str, files: Mapping[str, bytes], seal: Seal) -> bool:
        """Upload the files and then the manifest; ``False`` when a manifest is already there."""
        if self._content(f"{directory}/{MANIFEST}") is not None:
            return False
        records = {}
        for name, data in files.items():
            checksum = sha256(data)
            path = prefixed(name, checksum)
            self.replace(f"{directory}/{path}", data)
            records[name] = FileRecord(path=path, bytes=len(data), sha256=checksum)
        return self.create(f"{directory}/{MANIFEST}", seal(records))

    def set_aside(self, directory: str) -> None:
        """Remove it, because moving objects would copy them."""
        self.remove(directory)

    def remove(self, path: str) -> None:
        """Remove the manifest first, so that no reader uses a half-removed result."""
        full = self._full(path)
        self._files.invalidate_cache()
        if self._lists_prefixes:
            for name in sorted(self._find(full), key=lambda name: name != f"{full}/{MANIFEST}"):
                self._call("rm_file", name)  # removing many with one request would hide that one was refused
            return
        for victim in (f"{full}/{MANIFEST}", full):
            with contextlib.suppress(FileNotFoundError):  # another run removes it at the same time
                if self._call("exists", victim):
                    self._call("rm", victim, recursive=True)
        self._files.invalidate_cache()

    def unlink(self, path: str) -> None:
        """Remove one file with one request."""
        with contextlib.suppress(FileNotFoundError):
            self._call("rm_file", self._full(path))

    def size(self, path: str) -> int:
        """Return the bytes of a file or of all files under a directory."""
        self._files.invalidate_cache()
        return int(self._call("du", self._full(path)))

    def _is_exclusive(self) -> bool:
        """Whether the server refuses the second of two writers, asked once with an object of its own."""
        if self._refuses_second is None:
            probe = f"tmp/probe.{uuid.uuid4().hex}"
            try:
                self._refuses_second = self._create_exclusively(probe, b"1") and not self._create_exclusively(
                    probe, b"2"
                )
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EINVAL):
                    raise
                self._refuses_second = False
            self.unlink(probe)
        return self._refuses_second

    def _create_exclusively(self, path: str, data: bytes) -> bool:
        try:
            self._call("pipe_file", self._full(path), data, mode="create")
        except OSError as error:
            if not isinstance(error, FileExistsError) and error.errno not in REFUSALS:
                raise
            # The first try of a request whose answer was lost may have written it.
            found = self._content(path)
            if found is None:
                raise
            return found == data
        return True

    def _content(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _list(self, directory: str) -> list[dict[str, Any]]:
        # A cached listing would hide what other runs write.
        self._files.invalidate_cache()
        try:
            return list(self._call("ls", self._full(directory), detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _tree(self, directory: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Return the path of each file at any depth below a directory, with what the listing says of it."""
        self._files.invalidate_cache()
        full = self._full(directory)
        if self._lists_prefixes:
            with ThreadPoolExecutor(len(PREFIXES)) as threads:
                listings = list(threads.map(lambda prefix: self._find(full, prefix=prefix), PREFIXES))
        else:
            listings = [self._find(full)]
        self._files.invalidate_cache()
        start = len(self._root.lstrip("/")) + 1
        return [(str(name).lstrip("/")[start:], info) for found in listings for name, info in found.items()]

    def _find(self, full: str, **options: str) -> dict[str, Mapping[str, Any]]:
        try:
            return dict(self._call("find", full, detail=True, **options))
        except (FileNotFoundError, NotADirectoryError):
            return {}


def _protocols_below(filesystem: Any) -> set[str]:
    """Return the protocols of a file system and of those below it, under any number of caches."""
    found: set[str] = set()
    while filesystem is not None:
        found |= protocols_of(filesystem)
        filesystem = getattr(filesystem, "fs", None)
    return found


def _checked(path: str, content: bytes | OSError, limit: int) -> bytes | OSError:
    try:
        return content if isinstance(content, OSError) else _limited(path, content, limit)
    except Misplaced as error:
        return error


def _limited(path: str, data: bytes, limit: int | None) -> bytes:
    if limit is not None and len(data) > limit:
        raise Misplaced(f"{path} has more than {limit} bytes")
    return data


def _stat(info: Mapping[str, Any]) -> FileStat:
    version = str(info.get("ETag") or _modified(info) or "")
    return FileStat(int(info["size"] or 0), None, regular=info["type"] == "file", version=version)


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
