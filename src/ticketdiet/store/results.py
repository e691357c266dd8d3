"""Results kept by address so that nothing half-written is ever believed. See ``layout.py`` for where files lie."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from ticketdiet.core.errors import StoreError, UserError
from ticketdiet.store.collecting import collect_garbage
from ticketdiet.store.drivers import Driver
from ticketdiet.store.encoding import (
    Partial,
    decode_document,
    decode_partial,
    decode_tensors,
    encode_document,
    encode_partial,
    encode_tensors,
)
from ticketdiet.store.failures import explained
from ticketdiet.store.findings import Collected, Problem, Status
from ticketdiet.store.layout import (
    ADDRESS,
    SHARD,
    STORE_FILE,
    checked_stem,
    damaged,
    lacks,
    partial_path,
    require_address,
    require_identity,
    result_path,
    store_format,
)
from ticketdiet.store.manifest import FORMAT, MANIFEST, MOST_BYTES, FileRecord, Manifest, ManifestError, parse_manifest
from ticketdiet.store.opening import open_place
from ticketdiet.store.place import FileStat, Misplaced, Place, sha256

A_DAY = 86400.0
Decoded = TypeVar("Decoded")


class ResultStore:
    """Results of stages by address, in a folder or at any fsspec URL. Make one with ``ResultStore.open``."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._hashed: dict[str, FileStat] = {}  # files that were hashed and found right, as they were then

    @property
    def url(self) -> str:
        """Where the store lies."""
        return self._place.url

    @property
    def shared(self) -> bool:
        """Whether other processes that open ``url`` see the same results."""
        return self._place.shared

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, create: bool = True) -> ResultStore:
        """Open the store at ``url``.

        Args:
            url: A folder, or any URL that fsspec knows.
            create: Make the store when there is none, and prove that it can be written; otherwise only read.

        Raises:
            UserError: When it was written in another format, cannot be written, is a file, or does not exist.
        """
        place = open_place(url)
        with explained("open the store", place.url):
            known = store_format(place)
            if known is None and not create:
                raise UserError(
                    f"there is no store at {place.url}.",
                    expected=f"a folder with a file {STORE_FILE}",
                    way_out="run a study first, or name the store it was run with: --store URL",
                )
            if create:
                place.prepare()
            if known is None:
                place.replace(STORE_FILE, json.dumps({"format": FORMAT}).encode())
        return cls(place)

    def has(self, address: str) -> bool:
        """Say whether the result at ``address`` is whole; see ``check``."""
        return self.check(address).state == "done"

    def check(self, address: str) -> Status:
        """Look at a result without reading all of it.

        The manifest must be sound and be that of ``address``, and every file a plain file of its size. On a local file
        system a file is hashed when one of its times is not the recorded one, as after any change, exchange or copy by
        whatever means; on others only its size is compared. ``verify`` hashes everything, and so does reading.
        """
        require_address(address)
        with explained(f"check result {address}", self.url):
            try:
                stats = self._place.stats(result_path(address))
                if stats is None:
                    return Status("missing")
                files = self._manifest(address).files
                wrong = (self._fault(address, name, record, stats) for name, record in files.items())
                reason = next((fault for fault in wrong if fault), "")
            except FileNotFoundError:
                # Where nothing is atomic this is an upload under way or cut off, which nobody was told was finished.
                return Status("damaged", "it has no manifest") if self._place.atomic else Status("missing")
            except (ManifestError, Misplaced) as error:
                return Status("damaged", str(error))
        return Status("damaged", reason) if reason else Status("done")

    def write(
        self,
        address: str,
        *,
        kind: str,
        version: int,
        spec: Mapping[str, Any],
        inputs: Mapping[str, str],
        tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
        documents: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a result; when another run was faster, theirs stays and ours is dropped.

        Args:
            address: Its address, ``address_of`` the next four.
            kind: Stage kind.
            version: Version of that kind's code.
            spec: The fields that can change a number in it, JSON-able.
            inputs: Addresses of what it consumed, by role.
            tensors: By file stem, tensors by name: ``<stem>.safetensors``.
            documents: By file stem, a JSON-able value: ``<stem>.json``.
            provenance: Versions, machine and times, JSON-able.

        Raises:
            UserError: When ``address`` is not the address of a result of that kind, version, spec and inputs.
            StoreError: When the disk is full or the file system fails; nothing half-written is left to be believed.
        """
        require_identity(address, kind, version, spec, inputs)
        files = {f"{checked_stem(stem)}.safetensors": encode_tensors(group) for stem, group in (tensors or {}).items()}
        files |= {
            f"{checked_stem(stem)}.json": encode_document(document) for stem, document in (documents or {}).items()
        }

        def seal(records: Mapping[str, FileRecord]) -> bytes:
            return Manifest(address, kind, version, spec, inputs, provenance or {}, records).to_bytes()

        self._publish(address, files, seal)
        self.drop_partial(address)

    def _publish(self, address: str, files: Mapping[str, bytes], seal: Callable[..., bytes]) -> None:
        for _ in range(5):
            state = self.check(address).state
            if state == "done":
                return
            if state == "damaged":
                self.discard(address)
            needed = sum(map(len, files.values()))
            with explained(f"write result {address}", self.url, needed):
                if self._place.publish(result_path(address), files, seal):
                    return
        raise StoreError(
            f"result {address} cannot be put at {self.url}: something else keeps writing there.",
            way_out="stop other runs on this store, and run again",
        )

    def tensors(self, address: str, stem: str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the tensors of ``<stem>.safetensors``, or those called ``names``, verified against their checksum.

        Raises:
            DamagedResult: When the result is missing or does not match.
            UserError: When it holds no such file or tensor.
        """
        found = self._decoded(address, f"{stem}.safetensors", decode_tensors)
        if names is None:
            return found
        wanted = list(names)
        for name in wanted:
            if name not in found:
                raise lacks(address, f"tensor {name!r} in {stem}.safetensors", found)
        return {name: found[name] for name in wanted}

    def document(self, address: str, stem: str) -> Any:
        """Return the value of ``<stem>.json``, verified against its checksum; raises as ``tensors`` does."""
        return self._decoded(address, f"{stem}.json", decode_document)

    def manifest(self, address: str) -> Manifest:
        """Return what the result at ``address`` says about itself.

        Raises:
            DamagedResult: When the result is missing or its manifest cannot be believed.
        """
        require_address(address)
        with explained(f"read result {address}", self.url):
            try:
                return self._manifest(address)
            except (ManifestError, Misplaced) as error:
                raise damaged(address, str(error), self.url) from error
            except FileNotFoundError as error:
                raise damaged(address, "it is not there", self.url) from error

    def addresses(self) -> list[str]:
        """All addresses with something at them, sorted; foreign files and folders are ignored."""
        with explained("list results", self.url):
            shards = [entry.name for entry in self._place.children("results") if SHARD.fullmatch(entry.name)]
            found = [(shard, entry.name) for shard in shards for entry in self._place.children(f"results/{shard}")]
        return sorted(name for shard, name in found if ADDRESS.fullmatch(name) and name.startswith(shard))

    def resolve(self, prefix: str) -> str:
        """Return the one stored address that begins with ``prefix``.

        Raises:
            UserError: When none or several do.
        """
        found = [address for address in self.addresses() if address.startswith(prefix.lower())]
        if len(found) == 1:
            return found[0]
        raise UserError(
            f"{len(found) or 'no'} stored results begin with {prefix!r}.",
            expected="an address, or its first digits, of one result" + (f": {', '.join(found[:5])}" if found else ""),
            way_out="`ticketdiet results STUDY` and `ticketdiet plan STUDY` list addresses",
        )

    def inspect(self, address: str) -> Status:
        """Look at a result as ``check`` does, and hash every file of it."""
        status = self.check(address)
        fault = self._content_fault(address) if status.state == "done" else ""
        return Status("damaged", fault) if fault else status

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[Problem]:
        """Hash every file of every result.

        Args:
            progress: Called with (results looked at, results in all) after each.

        Returns:
            What does not match, by address; empty when all is well.
        """
        addresses, problems = self.addresses(), []
        for number, address in enumerate(addresses, start=1):
            status = self.inspect(address)
            if status.reason:
                problems.append(Problem(address, status.reason))
            if progress is not None:
                progress(number, len(addresses))
        return problems

    def discard(self, address: str) -> None:
        """Take a result out of the store: a local one is moved to ``damaged/``, others are removed."""
        require_address(address)
        with explained(f"discard result {address}", self.url):
            self._place.set_aside(result_path(address))

    def drive(self, reaches: Iterable[str] = ()) -> Driver:
        """Announce a run that needs the results at the addresses ``reaches``: use it in a ``with`` statement.

        While it lasts ``collect`` keeps them, in whatever process, and stages can be leased so that runs share work.
        """
        return Driver(self._place, reaches)

    def collect(self, keep: Collection[str], *, dry_run: bool = True, older_than: float = A_DAY) -> Collected:
        """Remove results that are not in ``keep``, and what interrupted runs left behind.

        What running drivers reach stays, and their partial states; a driver that begins meanwhile waits.

        Args:
            keep: Addresses that studies reach. Partial states of those not finished are kept too.
            dry_run: Only say what would go.
            older_than: Seconds after which an unfinished write, or a partial state outside ``keep``, counts as left.
        """
        with self.drive() as driver:
            return collect_garbage(
                self._place, driver, self.addresses(), keep, self.has, dry_run=dry_run, older_than=older_than
            )

    def save_partial(self, address: str, tensors: Mapping[str, Tensor], document: Any) -> None:
        """Keep the state of a long stage, in place of the one before."""
        data = encode_partial(Partial(dict(tensors), document), address)
        with explained(f"save the state of {address}", self.url, len(data)):
            self._place.replace(partial_path(address), data)

    def load_partial(self, address: str) -> Partial | None:
        """Return the state kept last, None when there is none or it was damaged."""
        with explained(f"read the state of {address}", self.url):
            try:
                return decode_partial(self._place.read(partial_path(address)), address)
            except (FileNotFoundError, Misplaced):
                return None

    def drop_partial(self, address: str) -> None:
        """Forget the state of a stage; none is fine."""
        with explained(f"drop the state of {address}", self.url):
            self._place.remove(partial_path(address))

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

    def _verified(self, address: str, name: str) -> bytes:
        manifest = self.manifest(address)
        if name not in manifest.files:
            raise lacks(address, f"file {name}", manifest.files)
        record = manifest.files[name]
        try:
            data = self._place.read(f"{result_path(address)}/{record.path}", record.bytes)
        except OSError as error:
            raise damaged(address, f"{name} cannot be read: {error.strerror or error}", self.url) from error
        if sha256(data) != record.sha256:
            raise damaged(address, f"{name} does not match its checksum", self.url)
        return data

    def _decoded(self, address: str, name: str, decode: Callable[[bytes], Decoded]) -> Decoded:
        try:
            return decode(self._verified(address, name))
        except UserError:
            raise
        except ValueError as error:
            raise damaged(address, f"{name} cannot be read: {error}", self.url) from error
