"""The manifests of one store, each read and checked once for every version of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from ticketdiet.store.layout import result_path
from ticketdiet.store.manifest import MANIFEST, MOST_BYTES, Manifest, ManifestError, parse_manifest
from ticketdiet.store.nearby import Nearby
from ticketdiet.store.place import FileStat, Place
from ticketdiet.store.summaries import Summaries

FEW = 16  # manifests that are read one by one; for more, summaries are read first

Listing = Mapping[str, FileStat]  # the files of a result by name
Found = Manifest | OSError | ManifestError


class Manifests:
    """Reads manifests and remembers them.

    In a local folder a remembered one is used while size and times of its file are the same. Elsewhere it is used until
    somebody looks at the result again, because what it leads to is compared with its checksum anyway.

    Args:
        place: The place of the store.
        nearby: Copies on this machine; None where there is no use for them.
        summaries: What runs have written together; None where there is no use for it.
    """

    def __init__(self, place: Place, nearby: Nearby | None = None, summaries: Summaries | None = None) -> None:
        self._place, self._nearby, self._summaries = place, nearby, summaries
        self._known: dict[str, tuple[FileStat | None, Manifest]] = {}

    def read(self, address: str) -> Manifest:
        """Return the manifest of a result; raises ``OSError`` or ``ManifestError`` when there is no sound one."""
        known = self._known.get(address)
        if known is not None and (not self._place.atomic or known[0] == self._place.stat(_path(address))):
            return known[1]
        stat = self._place.stat(_path(address)) if self._place.atomic else None
        return self._remembered(address, stat, self._place.read(_path(address), MOST_BYTES))

    def known(self, address: str) -> Manifest | None:
        """Return the manifest that was read last, None when none was."""
        known = self._known.get(address)
        return None if known is None else known[1]

    def kept_as(self, address: str) -> str:
        """Return the name under which the manifest that was read last is kept on this machine; empty when it is not."""
        stat, _ = self._known.get(address, (None, None))
        return version_name(address, stat)

    def forget(self, address: str) -> bool:
        """Forget the manifest of a result; return whether it was known."""
        return self._known.pop(address, None) is not None

    def listed(self, address: str, listing: Listing) -> Manifest:
        """Return the manifest of a result whose files were just listed; raises as ``read`` does."""
        stat = listing.get(MANIFEST)
        known = self._known_as(address, stat)
        return known or self._remembered(address, stat, self._place.read(_path(address), MOST_BYTES))

    def all_listed(self, listings: Mapping[str, Listing]) -> dict[str, Found]:
        """Return the manifests of results whose files were just listed, or what is wrong with each.

        Args:
            listings: The files of each result, by its address.

        Returns:
            By address. Those of which there is a sound copy on this machine, or in a summary, are not read.
        """
        found: dict[str, Found] = {}
        left = self._find_near(listings, found, listings)
        if len(left) > FEW and self._summaries is not None:
            for _ in self._summaries.unread():
                left = self._find_near(left, found, listings)
                if len(left) <= FEW:
                    break
        contents = self._place.read_many([_path(address) for address in left], MOST_BYTES)
        for address in left:
            found[address] = self._parsed(address, listings[address].get(MANIFEST), contents[_path(address)])
        return found

    def _find_near(
        self, addresses: Collection[str], found: dict[str, Found], listings: Mapping[str, Listing]
    ) -> list[str]:
        """Put what is known, or kept on this machine, into ``found``; return the other addresses."""
        left = []
        for address in addresses:
            near = self._near(address, listings[address].get(MANIFEST))
            if near is None:
                left.append(address)
            else:
                found[address] = near
        return left

    def _near(self, address: str, stat: FileStat | None) -> Manifest | None:
        known = self._known_as(address, stat)
        if known is not None:
            return known
        name = version_name(address, stat)
        if self._nearby is None or not name:
            return None
        data = self._nearby.get_version(name)
        if data is None:
            return None
        found = self._parsed(address, stat, data)
        if isinstance(found, Manifest):
            return found
        self._nearby.drop_version(name)
        return None

    def _known_as(self, address: str, stat: FileStat | None) -> Manifest | None:
        """Return the manifest that was read last, if what was listed tells that its file is the same."""
        known = self._known.get(address)
        tells = stat is not None and (self._place.atomic or bool(stat.version))
        return known[1] if tells and known is not None and known[0] == stat else None

    def _parsed(self, address: str, stat: FileStat | None, content: bytes | OSError) -> Found:
        if isinstance(content, OSError):
            return content
        try:
            return self._remembered(address, stat, content)
        except ManifestError as error:
            return error

    def _remembered(self, address: str, stat: FileStat | None, data: bytes) -> Manifest:
        manifest = parse_manifest(data, address)
        self._known[address] = (stat, manifest)
        name = version_name(address, stat)
        if self._nearby is not None and name:
            self._nearby.put_version(name, data)
        return manifest


def version_name(address: str, stat: FileStat | None) -> str:
    """Return the name under which a version of a manifest is kept; empty when versions cannot be told apart."""
    if stat is None or not stat.version:
        return ""
    return hashlib.sha256(f"{address}\n{stat.bytes}\n{stat.version}".encode()).hexdigest()


def _path(address: str) -> str:
    return f"{result_path(address)}/{MANIFEST}"
