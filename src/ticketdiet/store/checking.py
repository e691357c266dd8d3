"""Checking results against their manifests, and reading files that match their checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ticketdiet.core.errors import UserError
from ticketdiet.store.failures import explained
from ticketdiet.store.findings import Status
from ticketdiet.store.layout import damaged, lacks, require_address, result_path
from ticketdiet.store.manifest import MANIFEST, MOST_BYTES, FileRecord, Manifest, ManifestError, parse_manifest
from ticketdiet.store.place import FileStat, Misplaced, Place, sha256

Decoded = TypeVar("Decoded")


class Checker:
    """Checks and reads the results at one place; see ``ResultStore`` for what each method promises."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._hashed: dict[str, FileStat] = {}  # files that matched their checksum, with their state at that time

    def check(self, address: str) -> Status:
        """Check a result without reading all of it."""
        require_address(address)
        with explained(f"check result {address}", self._place.url):
            try:
                stats = self._place.stats(result_path(address))
                if stats is None:
                    return Status("missing")
                files = self._manifest(address).files
                faults = (self._fault(address, name, record, stats) for name, record in files.items())
                reason = next((fault for fault in faults if fault), "")
            except FileNotFoundError:
                # Where nothing is atomic, this is an upload that is not finished or was interrupted.
                return Status("damaged", "it has no manifest") if self._place.atomic else Status("missing")
            except (ManifestError, Misplaced) as error:
                return Status("damaged", str(error))
        return Status("damaged", reason) if reason else Status("done")

    def inspect(self, address: str) -> Status:
        """Check a result and hash every file of it."""
        status = self.check(address)
        fault = self._content_fault(address) if status.state == "done" else ""
        return Status("damaged", fault) if fault else status

    def manifest(self, address: str) -> Manifest:
        """Read the manifest of a result; raises ``DamagedResult`` when it is missing or cannot be used."""
        require_address(address)
        with explained(f"read result {address}", self._place.url):
            try:
                return self._manifest(address)
            except (ManifestError, Misplaced) as error:
                raise damaged(address, str(error), self._place.url) from error
            except FileNotFoundError as error:
                raise damaged(address, "it is not there", self._place.url) from error

    def read(self, address: str, name: str) -> bytes:
        """Read a file that matches its checksum; raises ``DamagedResult``, or ``UserError`` for an unknown name."""
        manifest = self.manifest(address)
        if name not in manifest.files:
            raise lacks(address, f"file {name}", manifest.files)
        record = manifest.files[name]
        try:
            data = self._place.read(f"{result_path(address)}/{record.path}", record.bytes)
        except OSError as error:
            raise damaged(address, f"{name} cannot be read: {error.strerror or error}", self._place.url) from error
        if sha256(data) != record.sha256:
            raise damaged(address, f"{name} does not match its checksum", self._place.url)
        return data

    def decoded(self, address: str, name: str, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Read a file as ``read`` does and decode it; a ``ValueError`` of ``decode`` means that it is damaged."""
        try:
            return decode(self.read(address, name))
        except UserError:
            raise
        except ValueError as error:
            raise damaged(address, f"{name} cannot be read: {error}", self._place.url) from error

    def _manifest(self, address: str) -> Manifest:
        return parse_manifest(self._place.read(f"{result_path(address)}/{MANIFEST}", MOST_BYTES), address)

    def _fault(self, address: str, name: str, record: FileRecord, stats: Mapping[str, FileStat]) -> str:
        stat = stats.get(record.path)
        if stat is None:
            return f"{name} is missing"
        if not stat.regular:
            return f"{name} is not a plain file"
        if stat.bytes != record.bytes:
            return f"{name} has {stat.bytes} bytes instead of {record.bytes}"
        path = f"{address}/{record.path}"
        if (stat.mtime_ns, stat.ctime_ns) == (record.mtime_ns, record.ctime_ns) or self._hashed.get(path) == stat:
            return ""
        fault = self._hash_fault(address, name, record)
        if not fault:
            self._hashed[path] = stat
        return fault

    def _hash_fault(self, address: str, name: str, record: FileRecord) -> str:
        matches = self._place.digest(f"{result_path(address)}/{record.path}") == record.sha256
        return "" if matches else f"{name} does not match its checksum"

    def _content_fault(self, address: str) -> str:
        try:
            files = self._manifest(address).files.items()
            return next(filter(None, (self._hash_fault(address, name, record) for name, record in files)), "")
        except OSError as error:
            return f"it cannot be read: {error.strerror or error}"
