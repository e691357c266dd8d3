"""Stages that could not be made: a small document each, so that whoever looks at the store learns why.

A document lies in ``failed/<address>.json`` until the stage is tried again. It decides nothing; one that cannot be read
counts as absent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ticketdiet.store.failures import explained
from ticketdiet.store.layout import ADDRESS, require_address
from ticketdiet.store.place import Place

FOLDER = "failed"
MOST_BYTES = 1 << 16
MOST_CHARACTERS = 4000  # of a message


@dataclass(frozen=True)
class FailedStage:
    """A stage that could not be made.

    Attributes:
        address: Where its result would be.
        message: Why, as the run said it.
        time: When, ISO 8601 in UTC.
    """

    address: str
    message: str
    time: str


class FailedStages:
    """The stages of one store that failed when they were tried last."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def write(self, failure: FailedStage) -> None:
        """Record a failure in place of an earlier one of the same stage."""
        require_address(failure.address)
        message = failure.message[:MOST_CHARACTERS]
        data = json.dumps({"message": message, "time": failure.time}).encode()
        with explained("record a failure", self._place.url, len(data)):
            self._place.replace(_path(failure.address), data)

    def remove(self, address: str) -> None:
        """Forget the failure of a stage; a missing one is fine."""
        require_address(address)
        with explained("forget a failure", self._place.url):
            self._place.unlink(_path(address))

    def read(self) -> dict[str, FailedStage]:
        """Return all failures by address."""
        with explained("list what failed", self._place.url):
            names = [entry.name.removesuffix(".json") for entry in self._place.children(FOLDER)]
        found = [self._read(name) for name in names if ADDRESS.fullmatch(name)]
        return {failure.address: failure for failure in found if failure is not None}

    def _read(self, address: str) -> FailedStage | None:
        try:
            body = json.loads(self._place.read(_path(address), MOST_BYTES))
            return FailedStage(address, str(body["message"]), str(body["time"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def _path(address: str) -> str:
    return f"{FOLDER}/{address}.json"
