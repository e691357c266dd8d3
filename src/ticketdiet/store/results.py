"""The store: results by address, where an unfinished result is never used. ``layout.py`` shows the files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from ticketdiet.core.errors import StoreError, UserError
from ticketdiet.store.checking import Checker
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
from ticketdiet.store.failed import FailedStages
from ticketdiet.store.failures import explained, naming
from ticketdiet.store.findings import Collected, Problem, Status
from ticketdiet.store.layout import (
    ADDRESS,
    SHARD,
    checked_stem,
    lacks,
    partial_path,
    require_address,
    require_identity,
    result_path,
)
from ticketdiet.store.manifest import FileRecord, Manifest
from ticketdiet.store.opening import open_store_place
from ticketdiet.store.place import Misplaced, Place, Seal
from ticketdiet.store.presence import Presence
from ticketdiet.store.records import StudyRecords
from ticketdiet.store.watching import HeldLease, drivers_of, held_leases

A_DAY = 86400.0


class ResultStore:
    """Results of stages by address, in a folder or at any fsspec URL; open one with ``ResultStore.open``.

    Attributes:
        records: What is recorded of the studies that were run on it.
        failed: What is recorded of stages that could not be made.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.records = StudyRecords(place)
        self.failed = FailedStages(place)
        self._checker = Checker(place)

    @property
    def url(self) -> str:
        """Path or URL of the store."""
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
            create: Make the store when there is none, and check that it can be written; otherwise only read.

        Returns:
            The open store.

        Raises:
            NoStore: When there is none and ``create`` is false.
            UserError: When it was written in another format, cannot be written, is a file, or its name leads nowhere.
        """
        with naming(os.fspath(url)):
            return cls(open_store_place(url, create=create))

    def has(self, address: str) -> bool:
        """Say whether the result at ``address`` is whole; see ``check``."""
        return self.check(address).state == "done"

    def check(self, address: str) -> Status:
        """Check a result without reading all of it.

        The manifest has to be valid and belong to ``address``, and every file has to be a plain file of its size. On a
        local file system a file is hashed when one of its times is not the recorded one, which is so after every change
        or copy; on others only its size is compared. ``verify`` and reading always hash.

        Args:
            address: Address of the result.

        Returns:
            Whether it is missing, done or damaged, and the reason.
        """
        return self._checker.check(address)

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
        """Store a result; when another run was faster, its result stays and this one is dropped.

        Args:
            address: Its address: ``address_of`` the next four arguments.
            kind: Stage kind.
            version: Version of that kind's code.
            spec: The fields that can change a number in it, JSON-able.
            inputs: Addresses of the results it consumed, by role.
            tensors: By file stem, tensors by name: ``<stem>.safetensors``.
            documents: By file stem, a JSON-able value: ``<stem>.json``.
            provenance: Versions, machine and times, JSON-able.

        Raises:
            UserError: When ``address`` is not the address of a result of that kind, version, spec and inputs.
            StoreError: When the disk is full or the file system fails; then there is no result at ``address``.
        """
        require_identity(address, kind, version, spec, inputs)
        files = {f"{checked_stem(stem)}.safetensors": encode_tensors(group) for stem, group in (tensors or {}).items()}
        files |= {f"{checked_stem(stem)}.json": encode_document(value) for stem, value in (documents or {}).items()}

        def seal(records: Mapping[str, FileRecord]) -> bytes:
            return Manifest(address, kind, version, spec, inputs, provenance or {}, records).to_bytes()

        self._publish(address, files, seal)
        self.drop_partial(address)

    def _publish(self, address: str, files: Mapping[str, bytes], seal: Seal) -> None:
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
            f"The result {address} cannot be written to {self.url}, because another program keeps writing there.",
            way_out="stop other runs on this store, and run again",
        )

    def tensors(self, address: str, stem: str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return tensors of ``<stem>.safetensors``, verified against their checksum.

        Args:
            address: Address of the result.
            stem: Name of the file without its ending.
            names: Names of the tensors, or None for all.

        Returns:
            The tensors by name, on the CPU.

        Raises:
            DamagedResult: When the result is missing or does not match its checksums.
            UserError: When it has no such file or tensor.
        """
        found = self._checker.decoded(address, f"{stem}.safetensors", decode_tensors)
        if names is None:
            return found
        wanted = list(names)
        for name in wanted:
            if name not in found:
                missing = lacks(address, f"tensor {name!r} in {stem}.safetensors", found)
                raise missing
        return {name: found[name] for name in wanted}

    def document(self, address: str, stem: str) -> Any:
        """Return the value of ``<stem>.json``, verified against its checksum; raises as ``tensors`` does."""
        return self._checker.decoded(address, f"{stem}.json", decode_document)

    def manifest(self, address: str) -> Manifest:
        """Return the manifest of a result.

        Args:
            address: Address of the result.

        Returns:
            What the result contains and where it came from.

        Raises:
            DamagedResult: When the result is missing or its manifest is not valid.
        """
        return self._checker.manifest(address)

    def addresses(self) -> list[str]:
        """Return all addresses at which there is anything, sorted; foreign files and folders are ignored."""
        with explained("list results", self.url):
            shards = [entry.name for entry in self._place.children("results") if SHARD.fullmatch(entry.name)]
            found = [(shard, entry.name) for shard in shards for entry in self._place.children(f"results/{shard}")]
        return sorted(name for shard, name in found if ADDRESS.fullmatch(name) and name.startswith(shard))

    def resolve(self, prefix: str) -> str:
        """Return the one stored address that begins with ``prefix``.

        Args:
            prefix: The first digits of an address, or all of them.

        Returns:
            The whole address.

        Raises:
            UserError: When no address or several begin with ``prefix``.
        """
        found = [address for address in self.addresses() if address.startswith(prefix.lower())]
        if len(found) == 1:
            return found[0]
        raise UserError(
            f"{len(found) or 'No'} stored results begin with {prefix!r}.",
            expected="the address of one result, or its first digits" + (f": {', '.join(found[:5])}" if found else ""),
            way_out="`ticketdiet results STUDY` and `ticketdiet plan STUDY` list addresses",
        )

    def inspect(self, address: str) -> Status:
        """Check a result as ``check`` does, and hash every file of it."""
        return self._checker.inspect(address)

    def verify(self) -> list[Problem]:
        """Hash every file of every result, and return what does not match; empty when everything does."""
        looked = ((address, self.inspect(address)) for address in self.addresses())
        return [Problem(address, status.reason) for address, status in looked if status.reason]

    def discard(self, address: str) -> None:
        """Take a result out of the store: a local one is moved to ``damaged/``, any other is removed."""
        require_address(address)
        with explained(f"discard result {address}", self.url):
            self._place.set_aside(result_path(address))

    def drive(self, reaches: Iterable[str] = (), *, study: str = "", executor: str = "") -> Driver:
        """Announce a run that needs the results at the addresses ``reaches``; for use in a ``with`` statement.

        Inside the statement ``collect`` keeps these results, in every process, and stages can be leased so that runs
        share work.

        Args:
            reaches: Addresses of the results that the run needs.
            study: Name of the study that it runs, for people.
            executor: Where it works the stages, in a word for people.

        Returns:
            The driver, which begins when its context is entered.
        """
        return Driver(self._place, reaches, study=study, executor=executor)

    def held(self) -> dict[str, HeldLease]:
        """Return the stages that running drivers work on now, by address; nothing is announced."""
        return held_leases(self._place)

    def drivers(self, *, silent: bool = False) -> list[Presence]:
        """Return the runs that go on; with ``silent``, those elsewhere that may have ended, too."""
        return drivers_of(self._place, silent=silent)

    def collect(self, keep: Collection[str], *, dry_run: bool = True, older_than: float = A_DAY) -> Collected:
        """Remove results that are not in ``keep``, and the files that interrupted runs left behind.

        Results and partial states that running drivers need are kept; a driver that begins meanwhile waits.

        Args:
            keep: Addresses that studies need. The partial states of unfinished ones are kept too.
            dry_run: Only find what would be removed.
            older_than: Age in seconds from which an unfinished write, or a partial state outside ``keep``, is removed.

        Returns:
            What was removed, or would be.
        """
        with self.drive() as driver:
            return collect_garbage(
                self._place, driver, self.addresses(), keep, self.has, dry_run=dry_run, older_than=older_than
            )

    def save_partial(self, address: str, tensors: Mapping[str, Tensor], document: Any) -> None:
        """Store the state of a long stage in place of the previous one."""
        data = encode_partial(Partial(dict(tensors), document), address)
        with explained(f"save the state of {address}", self.url, len(data)):
            self._place.replace(partial_path(address), data)

    def load_partial(self, address: str) -> Partial | None:
        """Return the state that was stored last, None when there is none or it is damaged."""
        with explained(f"read the state of {address}", self.url):
            try:
                return decode_partial(self._place.read(partial_path(address)), address)
            except (FileNotFoundError, Misplaced):
                return None

    def drop_partial(self, address: str) -> None:
        """Remove the state of a stage; a missing one is fine."""
        with explained(f"drop the state of {address}", self.url):
            self._place.remove(partial_path(address))
