"""A store in a local folder: write beside, sync, rename.

A crash at any instant leaves either nothing at an address or the whole result; what it was writing stays under ``tmp/``
until it is collected. ``os`` is used directly, because checking a thousand results must not take seconds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from ticketdiet.core.errors import UserError
from ticketdiet.store.failures import unwritable
from ticketdiet.store.manifest import MANIFEST, FileRecord
from ticketdiet.store.place import Entry, FileStat, Seal, sha256

TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


class Folder:
    """A place in a local folder; see ``Place`` for its methods."""

    atomic = True

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.url = self.root

    def prepare(self) -> None:
        """Make the folder and prove by a small file that it can be written."""
        try:
            probe = self._beside("probe")
            probe.touch()
            probe.unlink()
            _make_synced(Path(self.root, "results"))
        except (FileExistsError, NotADirectoryError) as error:
            raise self._not_a_folder() from error
        except OSError as error:
            raise unwritable(self.root, error) from error

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        try:
            with open(f"{self.root}/{path}", "rb") as file:
                return file.read()
        except NotADirectoryError as error:
            raise self._not_a_folder() from error

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file."""
        with open(f"{self.root}/{path}", "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def stats(self, directory: str) -> dict[str, FileStat] | None:
        """Return size and modification time of each file in a directory."""
        try:
            with os.scandir(f"{self.root}/{directory}") as found:
                stats = [(entry.name, entry.stat()) for entry in found if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return None
        return {name: FileStat(stat.st_size, stat.st_mtime_ns) for name, stat in stats}

    def children(self, directory: str) -> list[Entry]:
        """List a directory, sorted by name."""
        try:
            with os.scandir(f"{self.root}/{directory}") as found:
                entries = [_entry(entry) for entry in found]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(filter(None, entries), key=lambda entry: entry.name)

    def replace(self, path: str, data: bytes) -> None:
        """Write a file beside, sync it and rename it into place."""
        target = Path(self.root, path)
        beside = self._beside(target.stem)
        try:
            _write_synced(beside, data)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(beside, target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)

    def publish(self, directory: str, files: Mapping[str, bytes], seal: Seal) -> bool:
        """Write the files and then the manifest beside, sync them and rename their directory into place."""
        target = Path(self.root, directory)
        beside = self._beside(target.name)
        try:
            beside.mkdir()
            records = {name: self._write_file(beside / name, data) for name, data in files.items()}
            _write_synced(beside / MANIFEST, seal(records))
            _sync_directory(beside)
            _make_synced(target.parent)
            return _take(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def set_aside(self, directory: str) -> None:
        """Move a directory under ``damaged/``, where a person can look at it until it is collected."""
        target = Path(self.root, "damaged", f"{os.path.basename(directory)}.{uuid.uuid4().hex}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(f"{self.root}/{directory}", target)
        except FileNotFoundError:
            return
        _sync_directory(target.parent)

    def remove(self, path: str) -> None:
        """Rename under ``tmp/`` first, so that nobody ever reads a half-removed result."""
        doomed = self._beside(os.path.basename(path).split(".")[0])
        try:
            os.rename(f"{self.root}/{path}", doomed)
        except FileNotFoundError:
            return
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()

    def size(self, path: str) -> int:
        """Return the bytes of a file or of all files under a directory."""
        full = Path(self.root, path)
        files = full.rglob("*") if full.is_dir() else [full]
        return sum(file.stat().st_size for file in files if file.is_file())

    def _write_file(self, path: Path, data: bytes) -> FileRecord:
        mtime_ns = _write_synced(path, data)
        return FileRecord(path=path.name, bytes=len(data), sha256=sha256(data), mtime_ns=mtime_ns)

    def _beside(self, stem: str) -> Path:
        path = Path(self.root, "tmp", f"{stem}.{uuid.uuid4().hex}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _not_a_folder(self) -> UserError:
        return UserError(
            f"the store {self.root} is not a folder: a file is in the way.",
            expected="a folder, or a path where one can be made",
            way_out="give another folder with --store, or move the file away",
        )


def _entry(entry: os.DirEntry[str]) -> Entry | None:
    try:
        return Entry(entry.name, entry.is_dir(), entry.stat().st_mtime)
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


def _write_synced(path: Path, data: bytes) -> int:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_mtime_ns


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
