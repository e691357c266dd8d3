"""The store: results by address, where an unfinished result is never used. ``layout.py`` shows the files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from ticketdiet.core.errors import StoreError
from ticketdiet.store.collecting import collect_garbage
from ticketdiet.store.drivers import Driver
from ticketdiet.store.encoding import (
    Partial,
    decode_partial,
    decode_partial_document,
    encode_document,
    encode_partial,
    encode_tensors,
)
from ticketdiet.store.failed import FailedStages
from ticketdiet.store.failures import explained, naming
from ticketdiet.store.findings import Collected
from ticketdiet.store.layout import (
    checked_stem,
    partial_path,
    require_address,
    require_identity,
    result_path,
)
from ticketdiet.store.manifest import FileRecord, Manifest
from ticketdiet.store.opening import open_store_place
from ticketdiet.store.place import Misplaced, Place, Seal
from ticketdiet.store.presence import Presence
from ticketdiet.store.reader import StoredResults
from ticketdiet.store.records import StudyRecords
from ticketdiet.store.watching import HeldLease, drivers_of, held_leases

A_DAY = 86400.0


class ResultStore(StoredResults):
    """Results of stages by address, in a folder or at any fsspec URL; open one with ``ResultStore.open``.

    Attributes:
        records: What is recorded of the studies that were run on it.
        failed: What is recorded of stages that could not be made.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.records = StudyRecords(place)
        self.failed = FailedStages(place)

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

    def summarise(self, name: str, digest: str, addresses: Collection[str], *, again: bool = True) -> None:
        """Write what readers of a finished study need into one object of a remote store; elsewhere do nothing.

        Args:
            name: Name of the study.
            digest: 16 hexadecimal digits that distinguish it from other studies with this name.
            addresses: Addresses of its results; those that are not whole are left out.
            again: Write it even where there is one.
        """
        if self._summaries is None or (not again and self._summaries.has(name, digest)):
            return
        done = [
            address for address, status in self.statuses(addresses, tolerant=True).items() if status.state == "done"
        ]
        self._summaries.write(name, digest, self._checker.small_contents(done))

    def forget_study(self, name: str, digest: str) -> None:
        """Remove the record of a study, and its summary; what is missing is fine."""
        self.records.remove(name, digest)
        if self._summaries is not None:
            self._summaries.remove(name, digest)

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

        self.publish(address, files, seal)
        self.drop_partial(address)

    def publish(self, address: str, files: Mapping[str, bytes], seal: Seal) -> None:
        """Store the files of a result; one that is there and whole stays.

        Args:
            address: Its address.
            files: Their contents by name.
            seal: Makes the content of the manifest from what is recorded of the files.

        Raises:
            StoreError: When the file system fails; then there is no result at ``address``.
        """
        require_address(address)
        for _ in range(5):
            state = self.check(address).state
            if state == "done":
                return
            if state == "damaged":
                self.discard(address)
            needed = sum(map(len, files.values()))
            with explained(f"write result {address}", self.url, needed):
                if self._place.publish(result_path(address), files, seal):
                    self._checker.keep(files.values())
                    return
        raise StoreError(
            f"The result {address} cannot be written to {self.url}, because another program keeps writing there.",
            way_out="stop other runs on this store, and run again",
        )

    def discard(self, address: str) -> None:
        """Take a result out of the store: a local one is moved to ``damaged/``, any other is removed."""
        require_address(address)
        with explained(f"discard result {address}", self.url):
            self._place.set_aside(result_path(address))
        self._checker.forget(address)

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

    def partial_document(self, address: str) -> Any:
        """Return the document of the state that was stored last, unchecked, without reading its tensors.

        Returns:
            What ``save_partial`` was given; None when there is no state, or its beginning cannot be read.
        """
        with explained(f"read the state of {address}", self.url):
            try:
                return decode_partial_document(lambda count: self._place.start(partial_path(address), count))
            except (FileNotFoundError, Misplaced):
                return None

    def drop_partial(self, address: str) -> None:
        """Remove the state of a stage; a missing one is fine."""
        with explained(f"drop the state of {address}", self.url):
            self._place.unlink(partial_path(address))
