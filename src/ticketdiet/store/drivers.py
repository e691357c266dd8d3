"""Runs that share a store: each announces itself, and takes a lease on a stage before it works on it.

A lease is one small file that names its driver; one heartbeat per driver keeps all its leases valid. A lease ends when
its driver releases it, when its process is known to have ended, or when the heartbeat stops. Leases only save work: a
driver that loses one continues, and the store keeps the first of two results of one stage.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from ticketdiet.store.failures import explained
from ticketdiet.store.layout import COLLECTING, DRIVER, LEASE
from ticketdiet.store.place import Entry, Misplaced, Place
from ticketdiet.store.presence import EXPIRES_AFTER, MOST_BYTES, NEEDED_FOR, Presence, parse_presence

BEAT_SECONDS = 5.0
NEARBY_PAUSE, REMOTE_PAUSE = 0.2, 2.0  # seconds between two checks of what other drivers do


class Driver:
    """A run on a store, from entering the context to leaving it.

    Args:
        place: The place of the store.
        reaches: Addresses of the results that it needs.
        study: Name of the study that it runs, for people.
        executor: Where it works the stages, in a word for people.
        pause: Function that waits a number of seconds.
        clock: Function that returns a monotonic time in seconds.
    """

    def __init__(
        self,
        place: Place,
        reaches: Iterable[str] = (),
        *,
        study: str = "",
        executor: str = "",
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = uuid.uuid4().hex
        self.seconds_between_looks = NEARBY_PAUSE if place.atomic else REMOTE_PAUSE
        self._place, self._pause, self._clock = place, pause, clock
        self._study, self._executor = study, executor
        self._reaches = set(reaches)
        self._held: dict[str, int] = {}
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="store-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        with explained("announce a run", self._place.url):
            self.beat()
            self._heart.start()
            try:
                self._forget_the_dead()
                while self._is_held(COLLECTING):
                    self.wait()
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(OSError):  # leftovers expire, and must not hide an error
            for name in list(self._held):
                self._release(name)
            self._place.unlink(self._path)

    def reach(self, addresses: Iterable[str]) -> None:
        """Announce that the run needs these results as well, and wait while results are being removed."""
        self._reaches |= set(addresses)
        with explained("announce a run", self._place.url):
            self._place.replace(self._path, self._document())
            self.beat()
            while self._is_held(COLLECTING):
                self.wait()

    def beat(self) -> None:
        """Announce that the run still goes on."""
        modified = self._place.touch(self._path, self._document())
        self._tells_time = modified is not None
        self._ahead = (time.time() if modified is None else modified) - self._clock()

    def take(self, name: str) -> bool:
        """Take the lease of the stage at the address ``name``; False when another driver holds it."""
        with explained(f"take a lease on {name}", self._place.url):
            leases = self._leases(name)
            if leases and self._holder(leases[max(leases)]) is not None:
                return False
            # A file of the next generation instead of the same file, because only one driver can create it.
            generation = max(leases, default=-1) + 1
            if not self._place.create(f"leases/{name}.{generation}", self.name.encode()):
                return False
        self._held[name] = generation
        return True

    def release(self, name: str) -> None:
        """End the lease of a stage."""
        with explained(f"release the lease on {name}", self._place.url):
            self._release(name)

    def holder(self, name: str) -> str:
        """Return the label of the driver that holds the lease of a stage."""
        with explained(f"look at the lease on {name}", self._place.url):
            leases = self._leases(name)
            return (self._holder(leases[max(leases)]) if leases else None) or "another run"

    def wait(self) -> None:
        """Wait until the next check of what other drivers do."""
        self._pause(self.seconds_between_looks)

    def others(self) -> list[Presence]:
        """Return the other drivers whose results must be kept: they run, or had a heartbeat in the last ten minutes."""
        return [other for other in map(self._needed, self._place.children("drivers")) if other is not None]

    def dead_leases(self) -> list[str]:
        """Return the paths of leases that no driver holds any more."""
        entries = self._place.children("leases")
        return [f"leases/{e.name}" for e in entries if LEASE.fullmatch(e.name) and self._holder(e) is None]

    def dead_drivers(self) -> list[str]:
        """Return the paths of the documents of drivers that have ended."""
        # One listing: a driver that announces itself between two would look dead.
        entries = [entry for entry in self._place.children("drivers") if DRIVER.fullmatch(entry.name)]
        dead = (entry.name for entry in entries if self._needed(entry) is None)
        return [f"drivers/{name}" for name in dead if name != f"{self.name}.json"]

    @property
    def now(self) -> float:
        """Seconds since 1970 by the clock of the store."""
        return self._clock() + self._ahead

    @property
    def _path(self) -> str:
        return f"drivers/{self.name}.json"

    def _document(self) -> bytes:
        reaches = tuple(sorted(self._reaches))
        return Presence.of_this_process(self.name, time.time(), reaches, self._study, self._executor).to_bytes()

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            # Remote file systems raise many things; the next beat may come through.
            with contextlib.suppress(Exception):
                self.beat()

    def _forget_the_dead(self) -> None:
        for path in self.dead_drivers():
            self._place.unlink(path)

    def _is_held(self, name: str) -> bool:
        leases = self._leases(name)
        return bool(leases) and self._holder(leases[max(leases)]) is not None

    def _leases(self, name: str) -> dict[int, Entry]:
        found = {entry.name: entry for entry in self._place.children("leases") if entry.name.startswith(f"{name}.")}
        return {int(match[2]): found[match[0]] for match in map(LEASE.fullmatch, found) if match}

    def _holder(self, lease: Entry) -> str | None:
        """Return the label of the driver that holds a lease; None when no driver does."""
        try:
            owner = self._place.read(f"leases/{lease.name}", 64).decode("ascii", "replace")
        except FileNotFoundError:  # released at this moment; the next check finds it free
            return "another run"
        except Misplaced:
            owner = ""
        if owner == self.name:
            return "this run"
        entry = next((e for e in self._place.children("drivers") if e.name == f"{owner}.json"), None)
        if entry is None:  # a driver's document outlives its leases, but the name in a new lease may be half written
            young = len(owner) < len(self.name) and self._age(lease.modified) < EXPIRES_AFTER
            return "another run" if young else None
        found = self._presence(entry)
        if found is None or found[1] >= EXPIRES_AFTER or found[0].is_dead():
            return None
        return found[0].label

    def _presence(self, entry: Entry) -> tuple[Presence, float] | None:
        """Return another driver and the seconds since its last heartbeat."""
        match = DRIVER.fullmatch(entry.name)
        if match is None or match[1] == self.name:
            return None
        try:
            found = parse_presence(self._place.read(f"drivers/{entry.name}", MOST_BYTES), match[1])
        except (FileNotFoundError, Misplaced):
            return None
        if found is None:
            return None
        return found, self._age(entry.modified if self._tells_time else found.time)

    def _needed(self, entry: Entry) -> Presence | None:
        """Return another driver if its results must be kept."""
        found = self._presence(entry)
        if found is None:
            return None
        other, age = found
        return other if not other.is_dead() and (age < NEEDED_FOR or other.is_here()) else None

    def _age(self, modified: float | None) -> float:
        # A time far in the future was not set by this store's clock, and says nothing.
        return float("inf") if modified is None else abs(self.now - modified)

    def _release(self, name: str) -> None:
        generation = self._held.pop(name, -1)
        for older in sorted(self._leases(name)):
            if older <= generation:
                self._place.unlink(f"leases/{name}.{older}")
