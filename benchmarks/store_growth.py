"""Time the operations of a store in a local folder as it grows: none may grow faster than what it works on.

Run it with ``python benchmarks/store_growth.py [--sizes 1000 10000 100000] [--plot growth.svg]``. The results have
documents and no tensors, and files are not synced, so that it is the store that is timed and not the disk. An operation
on all results should have an exponent of at most 1, one on a single result an exponent near 0.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import machine
from ticketdiet.core.addresses import address_of
from ticketdiet.store.results import ResultStore

SINGLE = 200  # results on which operations on a single result are timed
ROWS = [{"metric": "accuracy", "split": "test", "step": step, "value": 0.5} for step in range(10)]
PROVENANCE = {"versions": {"torch": "2.14"}, "machine": {"cpu": "some", "threads": 1}, "seconds": 1.0}


def identity(number: int) -> dict[str, Any]:
    """Return what the address of a result is made of, as large as that of a trained level."""
    recipe = {f"key{index}": index / 2 for index in range(30)}
    return {"kind": "level", "version": 1, "spec": {"level": number, "recipe": recipe}, "inputs": {"parent": "0" * 24}}


def grow(store: ResultStore, start: int, stop: int) -> list[str]:
    """Write results and return their addresses."""
    addresses = []
    for number in range(start, stop):
        addresses.append(address_of(**identity(number)))
        documents = {"rows": ROWS, "facts": {"density": 0.5}}
        store.write(addresses[-1], **identity(number), documents=documents, provenance=PROVENANCE)
    return addresses


def seconds_of(url: str, addresses: list[str]) -> dict[str, float]:
    """Time every operation once, on a store that was just opened."""
    store, few = ResultStore.open(url, create=False), addresses[:: max(1, len(addresses) // SINGLE)][:SINGLE]

    def each(work: Callable[[str], object]) -> Callable[[], object]:
        return lambda: [work(address) for address in few]

    return {
        "all: check": timed(lambda: store.statuses(addresses)),
        "all: check again": timed(lambda: store.statuses(addresses)),
        "all: read rows": timed(lambda: [store.document(address, "rows") for address in addresses]),
        "all: list": timed(store.addresses),
        "all: find garbage": timed(lambda: store.collect(set(addresses))),
        "one: check": timed(each(ResultStore.open(url, create=False).check)) / len(few),
        "one: resolve": timed(each(lambda address: store.resolve(address[:12]))) / len(few),
    }


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(sizes: list[int]) -> dict[str, dict[int, float]]:
    """Return seconds by operation and number of results."""
    found: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as folder:  # what is done only once is not timed
        seconds_of(folder, grow(ResultStore.open(folder), 0, 20))
    with tempfile.TemporaryDirectory() as folder:
        store, addresses = ResultStore.open(folder), list[str]()
        for size in sizes:
            begin, before = time.perf_counter(), len(addresses)
            addresses += grow(store, before, size)
            seconds = {"one: write": (time.perf_counter() - begin) / (size - before), **seconds_of(folder, addresses)}
            for name, value in seconds.items():
                found.setdefault(name, {})[size] = value
    return found


def exponent(seconds: Mapping[int, float]) -> float:
    """Return the exponent of growth between the smallest and the largest store."""
    small, large = min(seconds), max(seconds)
    return math.log(seconds[large] / seconds[small]) / math.log(large / small)


def draw(found: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """Draw seconds over results, both on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, seconds in found.items():
        axes.loglog(list(seconds), list(seconds.values()), marker="o", label=name)
    axes.set(xlabel="results in the store", ylabel="seconds")
    axes.legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    """Measure, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--plot", type=Path, help="also draw the figure")
    options = parser.parse_args()
    print(machine.in_words())
    os.fsync = lambda fd: None
    sizes = sorted(set(options.sizes))
    found = measure(sizes)
    print(f"{'seconds':<20}" + "".join(f"{size:>12,}" for size in sizes) + f"{'exponent':>12}")
    exponents = {name: exponent(seconds) if len(sizes) > 1 else math.nan for name, seconds in found.items()}
    for name, seconds in found.items():
        print(f"{name:<20}" + "".join(f"{value:>12.4g}" for value in seconds.values()) + f"{exponents[name]:>12.2f}")
    if options.plot:
        draw(found, options.plot)
    print(json.dumps({"seconds": found, "exponents": exponents}))


if __name__ == "__main__":
    main()
