"""Records of studies: small documents that say which study the results belong to.

A record is compressed JSON in ``studies/<name>.<digest>.json.gz``. It is written atomically and contains no result, so
that one that cannot be read counts as absent.
"""

from __future__ import annotations

import re
from typing import Any

from ticketdiet.store.encoding import pack_document, unpack_document
from ticketdiet.store.failures import explained
from ticketdiet.store.place import Misplaced, Place

FOLDER = "studies"
RECORD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_+@-]*)\.([0-9a-f]{16})\.json\.gz")
MOST_BYTES = 1 << 28  # of a compressed record; uncompressed, eight times as many are allowed


class StudyRecords:
    """The records of one store."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def write(self, name: str, digest: str, document: Any) -> None:
        """Store a record in place of the previous one with this name and digest.

        Args:
            name: Name of the study.
            digest: 16 hexadecimal digits that distinguish it from other studies with this name.
            document: JSON-able.

        Raises:
            StoreError: When the store cannot be written.
        """
        data = pack_document(document)
        with explained(f"write the record of study {name}", self._place.url, len(data)):
            self._place.replace(_path(name, digest), data)

    def read(self, name: str, digest: str) -> Any:
        """Return a record, None when it does not exist or cannot be read."""
        try:
            return unpack_document(self._place.read(_path(name, digest), MOST_BYTES), 8 * MOST_BYTES)
        except ValueError:
            return None
        except OSError as error:
            if self._place.atomic or isinstance(error, FileNotFoundError | Misplaced):
                return None
            with explained(f"read the record of study {name}", self._place.url):
                raise

    def remove(self, name: str, digest: str) -> None:
        """Remove a record; a missing one is fine."""
        with explained(f"remove the record of study {name}", self._place.url):
            self._place.unlink(_path(name, digest))

    def list(self) -> list[tuple[str, str]]:
        """Return name and digest of every record, the one written last first."""
        with explained("list the records of studies", self._place.url):
            entries = sorted(self._place.children(FOLDER), key=lambda entry: entry.modified or 0.0, reverse=True)
        found = [RECORD.fullmatch(entry.name) for entry in entries]
        return [(match[1], match[2]) for match in found if match is not None]


def _path(name: str, digest: str) -> str:
    path = f"{name}.{digest}.json.gz"
    assert RECORD.fullmatch(path), f"{path!r} cannot be the name of a record"
    return f"{FOLDER}/{path}"
