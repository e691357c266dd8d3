"""Reading a store: what is there, whether it is whole, and what is in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor

from ticketdiet.core.collecting import without_collector
from ticketdiet.core.errors import UserError
from ticketdiet.store.checking import Checker
from ticketdiet.store.encoding import decode_document, decode_tensors
from ticketdiet.store.failures import explained
from ticketdiet.store.findings import Problem, Status
from ticketdiet.store.layout import ADDRESS, SHARD, lacks
from ticketdiet.store.manifest import Manifest
from ticketdiet.store.nearby import Nearby
from ticketdiet.store.place import Place
from ticketdiet.store.summaries import Summaries


class StoredResults:
    """The results at one place, for whoever reads them; ``ResultStore`` writes them too."""

    def __init__(self, place: Place) -> None:
        self._place = place
        nearby = Nearby.of_user(place.url) if self.is_remote else None
        self._summaries = None if nearby is None else Summaries(place, nearby)
        self._checker = Checker(place, nearby, self._summaries)

    @property
    def url(self) -> str:
        """Path or URL of the store."""
        return self._place.url

    @property
    def shared(self) -> bool:
        """Whether other processes that open ``url`` see the same results."""
        return self._place.shared

    @property
    def is_remote(self) -> bool:
        """Whether every look costs a request: it is neither in a local folder nor in the memory of this process."""
        return self.shared and not self._place.atomic

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

    @without_collector()
    def statuses(self, addresses: Collection[str], *, tolerant: bool = False) -> dict[str, Status]:
        """Check many results as ``check`` does one.

        A remote store is listed once, and a result that its listing does not show yet is missing. A manifest of which
        there is a copy on this machine, or in a summary, is not read again while the listing shows the same version.

        Args:
            addresses: Addresses of the results.
            tolerant: A result that cannot be looked at counts as damaged, and is no error.

        Returns:
            Their states by address, in the order of ``addresses``.
        """
        return self._checker.statuses(addresses, tolerant=tolerant)

    def fetch(self, addresses: Collection[str], stems: Iterable[str] = ("rows", "facts")) -> None:
        """Bring documents of results whose state was asked for to this machine, many with one wait.

        Nothing is returned: ``document`` finds them here, and reads what could not be brought as it always does.

        Args:
            addresses: Addresses of the results.
            stems: Names of their documents.
        """
        self._checker.fetch(addresses, [f"{stem}.json" for stem in stems])

    def read(self, address: str, name: str) -> bytes:
        """Return the content of the file ``name`` of a result, verified against its checksum.

        Args:
            address: Address of the result.
            name: Name of the file, as in its manifest.

        Returns:
            The content.

        Raises:
            DamagedResult: When the result is missing or does not match its checksums.
            UserError: When it has no such file.
        """
        return self._checker.read(address, name)

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
            found = self._place.grandchildren("results", SHARD)
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
        shard = prefix[:2].lower()
        if SHARD.fullmatch(shard):
            with explained("list results", self.url):
                names = [entry.name for entry in self._place.children(f"results/{shard}")]
        else:
            names = self.addresses()
        found = sorted(name for name in names if ADDRESS.fullmatch(name) and name.startswith(prefix.lower()))
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
