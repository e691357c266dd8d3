"""Who works on what in a store, for those who only look: nothing is announced and nothing is written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ticketdiet.store.failures import explained
from ticketdiet.store.layout import ADDRESS, DRIVER, LEASE
from ticketdiet.store.place import Entry, Misplaced, Place
from ticketdiet.store.presence import EXPIRES_AFTER, MOST_BYTES, Presence, parse_presence


@dataclass(frozen=True)
class HeldLease:
    """A stage that is being made.

    Attributes:
        address: Its address.
        driver: The run that makes it, in words.
        since: When the run took it, in seconds since 1970 by the clock of the store; None where files have no times.
    """

    address: str
    driver: str
    since: float | None


def held_leases(place: Place) -> dict[str, HeldLease]:
    """Return the stages that running drivers work on, by address.

    A driver counts as running as it does for other drivers: it was not silent for two minutes, and its process is not
    known to have ended. Here silence is measured by this machine's clock, or by the youngest heartbeat where that is
    later.

    Args:
        place: The place of the store.
    """
    with explained("look at who works", place.url):
        drivers = _fresh(_all_drivers(place))
        leases: dict[str, tuple[int, Entry]] = {}
        for entry in place.children("leases"):
            match = LEASE.fullmatch(entry.name)
            if match and ADDRESS.fullmatch(match[1]):
                leases[match[1]] = max(
                    leases.get(match[1], (-1, entry)), (int(match[2]), entry), key=lambda one: one[0]
                )
        held = [_held(place, address, entry, drivers) for address, (_, entry) in leases.items()]
    return {lease.address: lease for lease in held if lease is not None}


def drivers_of(place: Place, *, silent: bool = False) -> list[Presence]:
    """Return the drivers that run: those whose process runs here, and others that had a heartbeat lately.

    Args:
        place: The place of the store.
        silent: Return those elsewhere that had none, too.
    """
    with explained("look at who works", place.url):
        found = _all_drivers(place)
    fresh = _fresh(found)
    # What is known of this machine's processes needs no clock, which may differ from that of the store.
    return [one for one, _ in found if one.driver in fresh or one.is_here() or (silent and not one.is_dead())]


def _held(place: Place, address: str, entry: Entry, drivers: Mapping[str, Presence]) -> HeldLease | None:
    owner = _content(place, f"leases/{entry.name}", 64)
    driver = None if owner is None else drivers.get(owner.decode("ascii", "replace"))
    return None if driver is None else HeldLease(address, driver.label, entry.modified)


def _all_drivers(place: Place) -> list[tuple[Presence, float]]:
    """Return every driver with the time of its heartbeat."""
    found: list[tuple[Presence, float]] = []
    for entry in place.children("drivers"):
        match = DRIVER.fullmatch(entry.name)
        data = _content(place, f"drivers/{entry.name}", MOST_BYTES) if match else None
        presence = parse_presence(data, match[1]) if match and data is not None else None
        if presence is not None:
            found.append((presence, presence.time if entry.modified is None else entry.modified))
    return found


def _fresh(found: list[tuple[Presence, float]]) -> dict[str, Presence]:
    """Return those that were not silent and are not known to have ended, by name."""
    now = max([time.time(), *(beat for _, beat in found)])
    return {one.driver: one for one, beat in found if now - beat < EXPIRES_AFTER and not one.is_dead()}


def _content(place: Place, path: str, limit: int) -> bytes | None:
    try:
        return place.read(path, limit)
    except (FileNotFoundError, Misplaced):  # it ended at this moment, or is none of the store's
        return None
