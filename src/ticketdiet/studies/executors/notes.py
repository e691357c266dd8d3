"""What jobs elsewhere tell the run that began them: small files in one folder that both see.

A note is JSON, and appears whole or not at all. The result itself is in the store; a note only says that a stage ended
and how, or how many steps it has done. Nothing in these files is ever executed or unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ticketdiet.studies.executors.base import Ending, NotBegun, Progress, Warnings
from ticketdiet.studies.executors.sent_errors import error_of_data, error_to_data

SECONDS_BETWEEN_STEPS = 5.0  # between two notes on the steps of a stage
MOST_BYTES = 1 << 20


class Notes:
    """The notes of one run.

    Args:
        folder: Where they are; it exists.
        clock: Function that returns a monotonic time in seconds.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._last: dict[str, float] = {}

    def done(self, address: str, warnings: Warnings) -> None:
        """Note that a stage is in the store."""
        self._write(f"{address}.json", {"warnings": list(warnings)})

    def failed(self, address: str, error: BaseException, log: str = "") -> None:
        """Note that a stage raised ``error``; ``log`` says where more of it is."""
        self._write(f"{address}.json", {"error": error_to_data(error, log)})

    def not_begun(self, address: str) -> None:
        """Note that a stage was not tried, because one before it failed."""
        self._write(f"{address}.json", {"not_begun": True})

    def progressed(self, address: str, step: int) -> None:
        """Note the steps of a stage, every few seconds."""
        now = self._clock()
        if now - self._last.get(address, float("-inf")) >= SECONDS_BETWEEN_STEPS:
            self._last[address] = now
            with contextlib.suppress(OSError):  # no training ends for a note
                self._write(f"{address}.steps", step)

    def futile(self, address: str) -> int:
        """Note that the time of a job ended before a stage got on; return how often that was so."""
        before = self._read(f"{address}.futile")
        times = before + 1 if isinstance(before, int) else 1
        self._write(f"{address}.futile", times)
        return times

    def take_endings(self, addresses: Iterable[str]) -> dict[str, Ending]:
        """Return how stages have ended, for those of ``addresses`` that have; each is told once."""
        there = set(_names(self._folder))
        found: dict[str, Ending] = {}
        for address in addresses:
            content = self._read(f"{address}.json") if f"{address}.json" in there else None
            if isinstance(content, dict):
                found[address] = _ending(content)
                for name in (f"{address}.json", f"{address}.steps"):
                    (self._folder / name).unlink(missing_ok=True)
        return found

    def steps(self, addresses: Iterable[str]) -> list[Progress]:
        """Return the steps of those of ``addresses`` that have told any."""
        there = set(_names(self._folder))
        read = ((address, self._read(f"{address}.steps")) for address in addresses if f"{address}.steps" in there)
        return [(address, step) for address, step in read if isinstance(step, int)]

    def _write(self, name: str, content: Any) -> None:
        beside = self._folder / f".{name}.{uuid.uuid4().hex}"
        beside.write_text(json.dumps(content), encoding="utf-8")
        os.replace(beside, self._folder / name)

    def _read(self, name: str) -> Any:
        with contextlib.suppress(OSError, ValueError, RecursionError), (self._folder / name).open("rb") as file:
            return json.loads(file.read(MOST_BYTES))
        return None


def _names(folder: Path) -> Sequence[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _ending(content: dict[str, Any]) -> Ending:
    if "not_begun" in content:
        return NotBegun()
    if "error" not in content:
        return tuple(map(str, content.get("warnings", ())))
    return error_of_data(content["error"])
