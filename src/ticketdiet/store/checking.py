"""Checking results against their manifests, and reading files that match their checksums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from ticketdiet.core.errors import DamagedResult, TicketDietError, UserError
from ticketdiet.store.failures import explained
from ticketdiet.store.findings import Status
from ticketdiet.store.layout import damaged, lacks, require_address, result_path
from ticketdiet.store.manifest import MANIFEST, FileRecord, Manifest, ManifestError
from ticketdiet.store.manifests import Found, Listing, Manifests
from ticketdiet.store.nearby import SMALL, Nearby
from ticketdiet.store.place import FileStat, Misplaced, Place, sha256
from ticketdiet.store.summaries import Summaries

Decoded = TypeVar("Decoded")


class Checker:
    """Checks and reads the results at one place; see ``ResultStore`` for what each method promises.

    Args:
        place: The place of the store.
        nearby: Copies of its results on this machine; None where there is no use for them.
        summaries: What runs have written together; None where there is no use for it.
    """

    def __init__(self, place: Place, nearby: Nearby | None = None, summaries: Summaries | None = None) -> None:
        self._place, self._nearby = place, nearby
        self._manifests = Manifests(place, nearby, summaries)
        self._hashed: dict[str, FileStat] = {}  # files that matched their checksum, with their state at that time

    def check(self, address: str) -> Status:
        """Check a result without reading all of it."""
        require_address(address)
        with explained(f"check result {address}", self._place.url):
            if not self._place.atomic:
                return self._check_unlisted(address)
            try:
                stats = self._place.stats(result_path(address))
                found = None if stats is None else self._listed(address, stats)
            except Misplaced as error:
                return Status("damaged", str(error))
            return self._judged(address, found, stats)

    def statuses(self, addresses: Collection[str], *, tolerant: bool = False) -> dict[str, Status]:
        """Check many results, on a remote store by its listing and with few requests.

        Args:
            addresses: Addresses of the results.
            tolerant: A result that cannot be looked at is damaged, and is no error.

        Returns:
            Their states by address, in the order of ``addresses``.
        """
        for address in addresses:
            require_address(address)
        if self._place.atomic:
            return {address: self._tolerantly(self.check, address, tolerant) for address in addresses}
        with explained("list results", self._place.url):
            listed = self._place.stats_many([result_path(address) for address in addresses])
            stats = {address: listed[result_path(address)] for address in addresses}
            here = {address: files for address, files in stats.items() if files is not None and MANIFEST in files}
            found = self._manifests.all_listed(here)

        def judge(address: str) -> Status:
            with explained(f"check result {address}", self._place.url):
                return self._judged(address, found.get(address), stats[address])

        return {address: self._tolerantly(judge, address, tolerant) for address in addresses}

    def fetch(self, addresses: Collection[str], names: Collection[str]) -> None:
        """Bring files of results that were checked to this machine, many at the same time; local ones are there.

        Args:
            addresses: Addresses of the results.
            names: Names of the files.
        """
        if self._nearby is None:
            return
        records = {
            f"{result_path(address)}/{record.path}": record
            for address in addresses
            if (manifest := self._manifests.known(address)) is not None
            for name in names
            if (record := manifest.files.get(name)) is not None
        }
        wanted = [path for path, record in records.items() if self._nearby.get(record.sha256) is None]
        most = max((records[path].bytes for path in wanted), default=0)
        for path, content in self._place.read_many(wanted, most).items():
            if isinstance(content, bytes) and sha256(content) == records[path].sha256:
                self._nearby.put(content)

    def small_contents(self, addresses: Collection[str]) -> dict[str, bytes]:
        """Return the manifests and small documents of results that were checked, by the names they are kept under."""
        found: dict[str, bytes] = {}
        if self._nearby is None:
            return found
        names = {name for address in addresses for name in self._small_documents(address)}
        self.fetch(addresses, names)
        for address in addresses:
            version = self._manifests.kept_as(address)
            contents = {checksum: self._nearby.get(checksum) for checksum in self._small_documents(address).values()}
            contents[version] = self._nearby.get_version(version) if version else None
            found |= {key: content for key, content in contents.items() if content is not None}
        return found

    def _small_documents(self, address: str) -> dict[str, str]:
        """Return the checksum of each small document of a result, by name."""
        manifest = self._manifests.known(address)
        files = {} if manifest is None else manifest.files
        return {
            name: record.sha256 for name, record in files.items() if name.endswith(".json") and record.bytes <= SMALL
        }

    def keep(self, contents: Iterable[bytes]) -> None:
        """Keep what was just written to a remote store, because it will be read again."""
        for content in contents if self._nearby is not None else ():
            assert self._nearby is not None
            self._nearby.put(content)

    def forget(self, address: str) -> None:
        """Forget what is known of a result that is taken out of the store."""
        self._manifests.forget(address)

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
                return self._manifests.read(address)
            except (ManifestError, Misplaced) as error:
                raise damaged(address, str(error), self._place.url) from error
            except FileNotFoundError as error:
                raise damaged(address, "it is not there", self._place.url) from error

    def read(self, address: str, name: str) -> bytes:
        """Read a file that matches its checksum; raises ``DamagedResult``, or ``UserError`` for an unknown name."""
        try:
            return self._read(address, name, self.manifest(address))
        except DamagedResult:
            if not self._manifests.forget(address):
                raise
            return self._read(address, name, self.manifest(address))  # another run may have made it again

    def _read(self, address: str, name: str, manifest: Manifest) -> bytes:
        if name not in manifest.files:
            raise lacks(address, f"file {name}", manifest.files)
        record = manifest.files[name]
        near = None if self._nearby is None else self._nearby.get(record.sha256)
        if near is not None:
            return near
        try:
            data = self._place.read(f"{result_path(address)}/{record.path}", record.bytes)
        except OSError as error:
            self._raise_if_out_of_reach(address, error)
            raise damaged(address, f"{name} cannot be read: {error.strerror or error}", self._place.url) from error
        if sha256(data) != record.sha256:
            raise damaged(address, f"{name} does not match its checksum", self._place.url)
        if self._nearby is not None:
            self._nearby.put(data)
        return data

    def decoded(self, address: str, name: str, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Read a file as ``read`` does and decode it; a ``ValueError`` of ``decode`` means that it is damaged."""
        try:
            return decode(self.read(address, name))
        except UserError:
            raise
        except ValueError as error:
            raise damaged(address, f"{name} cannot be read: {error}", self._place.url) from error

    def _listed(self, address: str, stats: Listing) -> Found:
        try:
            return self._manifests.listed(address, stats)
        except (FileNotFoundError, ManifestError) as error:
            return error

    def _check_unlisted(self, address: str) -> Status:
        """Check a result of a store whose listing may not show yet what was just written."""
        self._manifests.forget(address)
        try:
            manifest = self._manifests.read(address)
        except FileNotFoundError:
            return Status("missing")
        except (ManifestError, Misplaced) as error:
            return Status("damaged", str(error))
        stats = dict(self._place.stats(result_path(address)) or {})
        for record in manifest.files.values():
            if record.path not in stats:
                unlisted = self._place.stat(f"{result_path(address)}/{record.path}")
                stats |= {} if unlisted is None else {record.path: unlisted}
        return self._judged(address, manifest, stats)

    def _judged(self, address: str, found: Found | None, stats: Listing | None) -> Status:
        if stats is None:
            return Status("missing")
        if found is None or isinstance(found, FileNotFoundError):
            # Where nothing is atomic, this is an upload that is not finished or was interrupted.
            return Status("damaged", "it has no manifest") if self._place.atomic else Status("missing")
        if isinstance(found, ManifestError | Misplaced):
            return Status("damaged", str(found))
        if isinstance(found, OSError):
            raise found
        try:
            faults = (self._fault(address, name, record, stats) for name, record in found.files.items())
            reason = next((fault for fault in faults if fault), "")
        except FileNotFoundError:  # removed by another run at this moment
            return Status("damaged", "it has no manifest") if self._place.atomic else Status("missing")
        except Misplaced as error:
            return Status("damaged", str(error))
        return Status("damaged", reason) if reason else Status("done")

    def _tolerantly(self, look: Callable[[str], Status], address: str, tolerant: bool) -> Status:
        try:
            return look(address)
        except TicketDietError as error:
            if not tolerant:
                raise
            return Status("damaged", error.came.removesuffix("."))

    def _fault(self, address: str, name: str, record: FileRecord, stats: Listing) -> str:
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
            files = self._manifests.read(address).files.items()
            return next(filter(None, (self._hash_fault(address, name, record) for name, record in files)), "")
        except OSError as error:
            self._raise_if_out_of_reach(address, error)
            return f"it cannot be read: {error.strerror or error}"

    def _raise_if_out_of_reach(self, address: str, error: OSError) -> None:
        """Raise the failure of a connection or a server, which says nothing about the result."""
        if not self._place.atomic and not isinstance(error, FileNotFoundError | Misplaced):
            with explained(f"read result {address}", self._place.url):
                raise error
