"""Collecting garbage: results that nothing needs, and files that interrupted runs left behind.

Running drivers keep the results they need. A driver announces itself before it reads the store, and a collection before
it reads the drivers; so one of the two always sees the other, and the driver waits until the collection is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ticketdiet.store.drivers import Driver
from ticketdiet.store.failures import explained
from ticketdiet.store.findings import Collected
from ticketdiet.store.layout import ADDRESS, COLLECTING, LEFTOVER, result_path
from ticketdiet.store.place import Place


def collect_garbage(
    place: Place,
    driver: Driver,
    addresses: Collection[str],
    keep: Collection[str],
    has: Callable[[str], bool],
    *,
    dry_run: bool,
    older_than: float,
) -> Collected:
    """Remove what neither ``keep`` nor a running driver needs; see ``ResultStore.collect``.

    Args:
        place: The place of the store.
        driver: The driver of the collection itself, whose context was entered.
        addresses: All stored addresses.
        keep: Addresses that studies need.
        has: Whether the result at an address is whole.
        dry_run: Only find what would be removed.
        older_than: Age in seconds from which an unfinished write is removed.

    Returns:
        What was removed, or would be.
    """
    with explained("collect garbage", place.url):
        while not dry_run and not driver.take(COLLECTING):
            driver.wait()
        others = driver.others()
        reached = {address for other in others for address in other.reaches}
        kept = reached | set(keep)
        unkept = tuple(address for address in addresses if address not in kept)
        leftovers = tuple(_leftovers(place, driver, kept, has, driver.now - older_than))
        paths = [*map(result_path, unkept), *leftovers]
        freed = sum(map(place.size, paths))
        for path in [] if dry_run else paths:
            place.remove(path)
    spared = sum(address in reached and address not in keep for address in addresses)
    return Collected(unkept, leftovers, freed, tuple(other.label for other in others), spared)


def _leftovers(
    place: Place, driver: Driver, keep: Collection[str], has: Callable[[str], bool], before: float
) -> Iterable[str]:
    for folder in ("tmp", "damaged"):
        for entry in place.children(folder):
            old = folder == "damaged" or (entry.modified is not None and entry.modified < before)
            if old and LEFTOVER.fullmatch(entry.name):
                yield f"{folder}/{entry.name}"
    for entry in place.children("partial"):
        address = entry.name.removesuffix(".safetensors")
        old = entry.modified is not None and entry.modified < before
        if ADDRESS.fullmatch(address) and ((address not in keep and old) or has(address)):
            yield f"partial/{entry.name}"
    for entry in place.children("failed"):
        address = entry.name.removesuffix(".json")
        if ADDRESS.fullmatch(address) and (address not in keep or has(address)):
            yield f"failed/{entry.name}"
    yield from driver.dead_leases()
    yield from driver.dead_drivers()
