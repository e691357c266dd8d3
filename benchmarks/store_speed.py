"""Time opening and checking a finished store: 1 000 results of a small network must take less than 3 seconds.

Run it with ``python benchmarks/store_speed.py [results] [weights]``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import torch

import machine
from ticketdiet.core.addresses import address_of
from ticketdiet.store.results import ResultStore


def main(results: int = 1000, weights: int = 50_000) -> None:
    """Fill a store in a temporary folder and print how long writing, checking, verifying and reading take."""
    print(machine.in_words())
    with tempfile.TemporaryDirectory() as folder:
        addresses = [address_of(**identity(number)) for number in range(results)]
        start = time.perf_counter()
        fill(ResultStore.open(folder), addresses, weights)
        report("write", start, results)

        start = time.perf_counter()
        store = ResultStore.open(folder)
        assert all(store.has(address) for address in addresses)
        report("open and check", start, results)

        start = time.perf_counter()
        assert store.verify() == []
        report("verify (hash all)", start, results)

        start = time.perf_counter()
        for address in addresses:
            store.tensors(address, "weights")
        report("read weights", start, results)


def fill(store: ResultStore, addresses: list[str], weights: int) -> None:
    """Write one result of a typical shape at each address."""
    tensors = {"weights": {"weight": torch.randn(weights)}, "mask": {"weight": torch.ones(weights, dtype=torch.uint8)}}
    for number, address in enumerate(addresses):
        documents = {"metrics": {"accuracy": 0.9, "level": number}}
        store.write(address, **identity(number), tensors=tensors, documents=documents)


def identity(number: int) -> dict[str, Any]:
    """Return what the address of a result is made of."""
    return {"kind": "level", "version": 1, "spec": {"level": number}, "inputs": {}}


def report(what: str, start: float, results: int) -> None:
    """Print seconds since ``start``, in all and per result."""
    seconds = time.perf_counter() - start
    print(f"{what:<20}{seconds:8.2f} s for {results} results{1000 * seconds / results:8.2f} ms each")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
