"""Copying results from one store to another: each is read against its checksums, written whole, and read back.

A copy that was interrupted goes on where it stopped, since a result is at the destination whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice

from ticketdiet.core.errors import DamagedResult, UserError
from ticketdiet.store.findings import Problem
from ticketdiet.store.results import ResultStore

TOGETHER = 4  # results that are copied at the same time where a store is remote; each is held in memory


@dataclass(frozen=True)
class Copied:
    """What copying did.

    Attributes:
        results: Addresses of the results that were copied.
        bytes: Size of their files.
        there: Number of results that the destination had already.
        missing: Number of results that the source does not have.
        damaged: Results that were left out, because they are damaged at the source.
    """

    results: tuple[str, ...]
    bytes: int
    there: int
    missing: int
    damaged: tuple[Problem, ...]


def copy_results(
    source: ResultStore,
    target: ResultStore,
    addresses: Collection[str] | None = None,
    *,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Copied:
    """Copy results, and skip those that the destination has.

    Args:
        source: Where they are.
        target: Where they shall be; a result that is damaged there is replaced.
        addresses: Which of them; None for all.
        told: Is called with how many of the results to be copied are done, and how many there are.

    Returns:
        What was copied, and what was not.

    Raises:
        UserError: When both are the same store.
        StoreError: When a store fails, or a copy does not match its checksums; what was copied before stays.
    """
    if source.url == target.url:
        raise UserError(
            f"Got the store {source.url} twice.",
            expected="two different stores",
            way_out="name the store that the results are copied from, and then the one they are copied to",
        )
    wanted = source.addresses() if addresses is None else list(addresses)
    with target.drive(wanted):  # a collection of garbage that runs meanwhile leaves them alone
        found, there = source.statuses(wanted), target.statuses(wanted)
        damaged = [Problem(address, one.reason) for address, one in found.items() if one.state == "damaged"]
        left = [a for a, one in found.items() if one.state == "done" and there[a].state != "done"]
        copied: dict[str, int] = {}
        for number, (address, size) in enumerate(_copy_all(source, target, left), start=1):
            if isinstance(size, str):
                damaged.append(Problem(address, size))
            else:
                copied[address] = size
            told(number, len(left))
    return Copied(
        tuple(copied),
        sum(copied.values()),
        sum(status.state == "done" for status in there.values()),
        sum(status.state == "missing" for status in found.values()),
        tuple(damaged),
    )


def _copy_all(source: ResultStore, target: ResultStore, addresses: Collection[str]) -> Iterator[tuple[str, int | str]]:
    """Yield each address with its bytes, or with what is wrong with it at the source."""
    together = TOGETHER if source.is_remote or target.is_remote else 1
    with ThreadPoolExecutor(together) as threads:
        rest = iter(addresses)
        running: dict[Future[int | str], str] = {}
        while True:
            for address in islice(rest, together - len(running)):
                running[threads.submit(_copy, source, target, address)] = address
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()


def _copy(source: ResultStore, target: ResultStore, address: str) -> int | str:
    try:
        manifest = source.manifest(address)
        files = {name: source.read(address, name) for name in manifest.files}
    except DamagedResult as error:
        return source.inspect(address).reason or error.came.removesuffix(".")
    target.publish(address, files, lambda records: replace(manifest, files=records).to_bytes())
    copy = target.inspect(address)
    if copy.state != "done":
        target.discard(address)
        raise DamagedResult(
            f"The copy of the result {address} in {target.url} is not what was written: {copy.reason or 'it is gone'}.",
            expected="files that match their checksums when they are read back",
            way_out="check the disk or the connection, and copy again; what was copied before is kept",
        )
    return manifest.size
