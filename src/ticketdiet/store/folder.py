"""A store in a local folder: results are written to a temporary folder, synced and renamed.

After a crash there is either nothing at an address or the whole result; the temporary files stay in ``tmp/`` until they
are collected. ``os`` is used directly, because checking a thousand results must not take seconds.

The folder itself may be behind a symbolic link; inside it no link is ever followed, so that nothing outside is read,
written or removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Mapping
from io import BufferedReader
from pathlib import Path

from ticketdiet.core.errors import UserError
from ticketdiet.store.failures import unwritable
from ticketdiet.store.manifest import MANIFEST, FileRecord
from ticketdiet.store.place import Entry, FileStat, Misplaced, Seal, sha256

TRIES_TO_TOUCH = 5
TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
# Otherwise opening a FIFO would wait for a writer, and a link would be followed.
CAREFULLY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Folder:
    """A place in a local folder; see ``Place`` for its methods."""

    atomic = True
    shared = True

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.url = self.root

    def prepare(self) -> None:
        """Make the folder, and write a small file to check that it can be written."""
        try:
            probe = self._beside("probe")
            probe.touch()
            probe.unlink()
            _make_synced(Path(self._locate("results/")))
        except Misplaced:
            raise
        except (FileExistsError, NotADirectoryError) as error:
            raise self._not_a_folder() from error
        except OSError as error:
            raise unwritable(self.root, error) from error

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of a plain file of at most ``limit`` bytes."""
        with self._open(path) as file:
            if limit is None:
                return file.read()
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Misplaced(f"{path} has more than {limit} bytes")
        return data

    def start(self, path: str, count: int) -> bytes:
        """Return the first bytes of a plain file."""
        with self._open(path) as file:
            return file.read(count)

    def read_many(self, paths: Collection[str], limit: int) -> dict[str, bytes | OSError]:
        """Return the content of each file, or why it cannot be read."""
        found: dict[str, bytes | OSError] = {}
        for path in paths:
            try:
                found[path] = self.read(path, limit)
            except OSError as error:
                found[path] = error
        return found

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a plain file."""
        with self._open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def stats(self, directory: str) -> dict[str, FileStat] | None:
        """Return size and times of each entry of a directory."""
        try:
            with os.scandir(self._locate(f"{directory}/")) as found:
                return {entry.name: _stat(entry.stat(follow_symlinks=False)) for entry in found}
        except FileNotFoundError:
            return None

    def stats_many(self, directories: Collection[str]) -> dict[str, dict[str, FileStat] | None]:
        """Return ``stats`` of many directories."""
        return {directory: self.stats(directory) for directory in directories}

    def stat(self, path: str) -> FileStat | None:
        """Return size and times of whatever lies at a path."""
        try:
            return _stat(os.lstat(self._locate(path)))
        except FileNotFoundError:
            return None

    def children(self, directory: str) -> list[Entry]:
        """List a directory, sorted by name."""
        try:
            with os.scandir(self._locate(f"{directory}/")) as found:
                entries = [_entry(entry) for entry in found]
        except FileNotFoundError:
            return []
        return sorted(filter(None, entries), key=lambda entry: entry.name)

    def grandchildren(self, directory: str, folders: re.Pattern[str]) -> list[tuple[str, str]]:
        """Return the names in the folders of a directory that match a pattern, each after that of its folder."""
        matching = [entry.name for entry in self.children(directory) if folders.fullmatch(entry.name)]
        return [(folder, entry.name) for folder in matching for entry in self.children(f"{directory}/{folder}")]

    def replace(self, path: str, data: bytes) -> None:
        """Write a temporary file, sync it and rename it."""
        target = Path(self._locate(path))
        beside = self._beside(target.stem)
        try:
            _write_synced(beside, data)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(beside, target)
            except IsADirectoryError:
                self.remove(path)
                os.replace(beside, target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet, without a sync, because it need not survive a crash of the machine."""
        target = Path(self._locate(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(target, "xb") as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def touch(self, path: str, data: bytes) -> float | None:
        """Set the time of a file to now, by the clock of the file system's own machine."""
        target = self._locate(path)
        for _ in range(TRIES_TO_TOUCH):
            try:
                os.utime(target, follow_symlinks=False)
                return os.lstat(target).st_mtime
            except FileNotFoundError:  # not made yet, or removed by another run meanwhile
                self.replace(path, data)
        return None

    def publish(self, directory: str, files: Mapping[str, bytes], seal: Seal) -> bool:
        """Write the files and then the manifest to a temporary directory, sync them and rename the directory."""
        target = Path(self._locate(directory))
        beside = self._beside(target.name)
        try:
            beside.mkdir()
            records = {name: _write_file(beside / name, data) for name, data in files.items()}
            _write_synced(beside / MANIFEST, seal(records))
            _sync_directory(beside)
            _make_synced(target.parent)
            return _take(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def set_aside(self, directory: str) -> None:
        """Move a directory to ``damaged/``, where it can be inspected until it is collected."""
        target = Path(self._locate(f"damaged/{os.path.basename(directory)}.{uuid.uuid4().hex}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self._locate(directory), target)
        except FileNotFoundError:
            return
        _sync_directory(target.parent)

    def remove(self, path: str) -> None:
        """Move it to ``tmp/`` first, so that no reader ever sees a half-removed result."""
        doomed = self._beside(os.path.basename(path).split(".")[0])
        try:
            os.rename(self._locate(path), doomed)
        except FileNotFoundError:
            return
        if doomed.is_dir() and not doomed.is_symlink():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()

    def unlink(self, path: str) -> None:
        """Remove a file as ``remove`` does."""
        self.remove(path)

    def size(self, path: str) -> int:
        """Return the bytes of a file or of all files under a directory."""
        full = self._locate(path)
        try:
            if not stat.S_ISDIR(os.lstat(full).st_mode):
                return os.lstat(full).st_size
            return sum(os.lstat(f"{where}/{name}").st_size for where, _, names in os.walk(full) for name in names)
        except FileNotFoundError:  # another run removed it since
            return 0

    def _open(self, path: str) -> BufferedReader:
        """Open a plain file; the kind is checked before, because opening anything else can hang."""
        full = self._locate(path)
        try:
            mode = os.lstat(full).st_mode
        except NotADirectoryError as error:
            raise self._not_a_folder() from error
        if not stat.S_ISREG(mode):
            raise Misplaced(f"{path} is {_what(mode)}, not a file")
        return os.fdopen(os.open(full, os.O_RDONLY | CAREFULLY), "rb")

    def _locate(self, path: str) -> str:
        """Return the location of ``path``, after a check that every folder above it is a folder and not a link."""
        for end in (index for index, letter in enumerate(path) if letter == "/"):
            try:
                mode = os.lstat(f"{self.root}/{path[:end]}").st_mode
            except FileNotFoundError:
                break
            if not stat.S_ISDIR(mode):
                raise Misplaced(f"{path[:end]} is {_what(mode)}, not a folder")
        return f"{self.root}/{path}"

    def _beside(self, stem: str) -> Path:
        path = Path(self._locate(f"tmp/{stem}.{uuid.uuid4().hex}"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _not_a_folder(self) -> UserError:
        return UserError(
            f"The store {self.root} is not a folder: a file is in the way.",
            expected="a folder, or a path where one can be made",
            way_out="give another folder with --store, or move the file away",
        )


def _what(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _stat(info: os.stat_result) -> FileStat:
    return FileStat(info.st_size, info.st_mtime_ns, info.st_ctime_ns, stat.S_ISREG(info.st_mode))


def _entry(entry: os.DirEntry[str]) -> Entry | None:
    try:
        return Entry(entry.name, entry.is_dir(follow_symlinks=False), entry.stat(follow_symlinks=False).st_mtime)
    except FileNotFoundError:  # another run removed it since
        return None


def _take(beside: Path, target: Path) -> bool:
    try:
        os.rename(beside, target)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    _sync_directory(target.parent)
    return True


def _write_file(path: Path, data: bytes) -> FileRecord:
    info = _write_synced(path, data)
    return FileRecord(
        path=path.name, bytes=len(data), sha256=sha256(data), mtime_ns=info.st_mtime_ns, ctime_ns=info.st_ctime_ns
    )


def _write_synced(path: Path, data: bytes) -> os.stat_result:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno())


def _make_synced(directory: Path) -> None:
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
