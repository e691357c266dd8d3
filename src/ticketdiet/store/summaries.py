"""Summaries of studies on remote stores: their manifests and small documents in one object, for one request.

A run writes ``summaries/<name>.<digest>.json.gz`` when it ends. A reader takes what is in it as copies on its own
machine: a manifest only where the listing shows that version of it, a document only where its checksum is right. So a
summary that is old, damaged or missing costs requests and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ticketdiet.store.encoding import pack_document, unpack_document
from ticketdiet.store.failures import explained
from ticketdiet.store.nearby import Nearby
from ticketdiet.store.place import Place, sha256
from ticketdiet.store.records import RECORD

FOLDER = "summaries"
FORMAT = 1
NAME = re.compile("[0-9a-f]{64}")
MOST_BYTES = 1 << 27


class Summaries:
    """The summaries of one store.

    Args:
        place: The place of the store.
        nearby: The copies on this machine.
    """

    def __init__(self, place: Place, nearby: Nearby) -> None:
        self._place, self._nearby = place, nearby
        self._read: set[tuple[str, float | None]] = set()

    def unread(self) -> Iterator[str]:
        """Read the summaries that were not read yet, the one written last first; yield the name of each."""
        entries = sorted(self._place.children(FOLDER), key=lambda entry: entry.modified or 0.0, reverse=True)
        for entry in entries:
            if RECORD.fullmatch(entry.name) and (entry.name, entry.modified) not in self._read:
                self._read.add((entry.name, entry.modified))
                self._take(entry.name)
                yield entry.name

    def has(self, name: str, digest: str) -> bool:
        """Whether there is a summary of a study."""
        return any(entry.name == _file(name, digest) for entry in self._place.children(FOLDER))

    def write(self, name: str, digest: str, contents: Mapping[str, bytes]) -> None:
        """Write the summary of a study in place of the previous one.

        Args:
            name: Name of the study.
            digest: What distinguishes it from other studies of the name.
            contents: What lies nearby, by the name it is kept under.

        Raises:
            StoreError: When the store cannot be written.
        """
        data = pack_document({"format": FORMAT, "contents": {key: data.decode() for key, data in contents.items()}})
        if len(data) <= MOST_BYTES:
            with explained(f"write the summary of study {name}", self._place.url, len(data)):
                self._place.replace(f"{FOLDER}/{_file(name, digest)}", data)

    def remove(self, name: str, digest: str) -> None:
        """Remove the summary of a study; a missing one is fine."""
        with explained(f"remove the summary of study {name}", self._place.url):
            self._place.unlink(f"{FOLDER}/{_file(name, digest)}")

    def _take(self, name: str) -> None:
        try:
            document = unpack_document(self._place.read(f"{FOLDER}/{name}", MOST_BYTES), 8 * MOST_BYTES)
            contents = document["contents"].items() if document["format"] == FORMAT else ()
            for key, text in contents:
                data = text.encode()
                if sha256(data) == key:
                    self._nearby.put(data)
                elif NAME.fullmatch(key):
                    self._nearby.put_version(key, data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return


def _file(name: str, digest: str) -> str:
    path = f"{name}.{digest}.json.gz"
    assert RECORD.fullmatch(path), f"{path!r} cannot be the name of a summary"
    return path
