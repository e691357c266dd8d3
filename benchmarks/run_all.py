"""Runs the benchmarks of training and of studies in turn, and compares them with the run before on the same machine.

Every benchmark is a process of its own; its last line is JSON, which is kept under ``benchmarks/last/`` (not in the
repository) by kind of machine. One table has what was measured, the goal, and the number of the run before::

    python benchmarks/run_all.py            # what `make bench` calls; some twenty-five minutes on two quiet cores
    python benchmarks/run_all.py --only sparse_speed
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine

FOLDER = Path(__file__).parent
LAST = FOLDER / "last"
GOALS = {"0.2": 1.5, "0.1": 2.0, "0.05": 3.0, "0.035": 3.5}  # times the speed of the dense step, by density
GROWTH_GOALS = {"plan": 5.0, "open and find nothing to do": 3.0}  # seconds at 10 000 stages
COMMAND_GOALS = {"run quickstart": 2.0, "--help": 0.5, "run --help": 0.5}  # seconds of a whole process
BENCHMARKS: Mapping[str, tuple[str, ...]] = {
    "train_speed": (),
    "sparse_speed": (),
    "search_speed": ("--steps", "40"),
    "study_speed": (),
    "large_data": ("--images", "100000", "--parts", "make", "load"),
    "store_growth": ("--sizes", "1000", "10000"),
    "growth": (),
}


@dataclass(frozen=True)
class Figure:
    """One number of the table.

    Attributes:
        name: What it is of.
        value: The number.
        unit: ``"x"`` for a ratio of two times in one run, where more is better; ``"s"``, ``"ms"`` or none, where less
            is.
        goal: What was wanted, or None.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None


def figures_of(name: str, found: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield the numbers of a benchmark's JSON that are worth a row."""
    if name == "train_speed":
        yield Figure("dense training: engine over the plain loop", found["ratio"], "x", 3.0)
        yield Figure("training at density 0.05: engine over the plain loop", found["sparse_ratio"], "x", 4.0)
    elif name == "sparse_speed":
        yield from _figures_of_steps(found)
    elif name == "search_speed":
        for seed, ratio in enumerate(found["ratios"]):
            yield Figure(f"search of 20 levels, seed {seed}", ratio, "x", 2.0)
    elif name == "store_growth":
        yield from (
            Figure(f"store, {what}: exponent of growth", value, "") for what, value in found["exponents"].items()
        )
        yield Figure("store: check 10 000 results", found["seconds"]["all: check"]["10000"], "s", 3.0)
    elif name == "study_speed":
        yield from (Figure(f"finished study: {what}", value, "s") for what, value in found["seconds"].items())
        for what, value in found["commands"].items():
            yield Figure(f"finished study: `ticketdiet {what}`", value, "s", COMMAND_GOALS[what])
    elif name == "large_data":
        made, loaded = found["results"]["make"], found["results"]["load"]
        yield Figure(f"cache of {found['images']:,} images of 64x64", made["seconds"], "s")
        yield Figure("a batch of 128 of them, streamed", 128_000 / loaded["images_per_second"], "ms")
    elif name == "growth":
        largest = found["results"][-1]
        for what, value in largest["seconds"].items():
            yield Figure(f"{largest['stages']:,} stages: {what}", value, "s", GROWTH_GOALS.get(what))


def _figures_of_steps(found: Mapping[str, Any]) -> Iterator[Figure]:
    for threads, result in found["results"].items():
        for network, times in result["milliseconds"].items():
            who = f"{network}, {threads} thread(s)"
            yield Figure(f"{who}: dense step", times["dense"], "ms")
            for density, goal in GOALS.items():
                yield Figure(f"{who}: step at density {density}", times["dense"] / times[density], "x", goal)


def run(name: str) -> dict[str, Any]:
    """Run one benchmark; print what it prints, and return its JSON."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *BENCHMARKS[name]]
    print(f"\n== {' '.join(command[1:])}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    print("\n".join(lines), flush=True)
    result: dict[str, Any] = json.loads(last)
    return result


def table(figures: list[Figure], before: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of the table, with the numbers of the run before beside these."""
    width = max(len(figure.name) for figure in figures)
    yield f"{'':<{width}}  {'now':>9}  {'before':>9}  {'goal':>6}"
    for figure in figures:
        last = before.get(figure.name)
        earlier = "" if last is None else f"{last:.2f} {figure.unit}"
        goal = "" if figure.goal is None else f"{figure.goal:g} {figure.unit}"
        yield f"{figure.name:<{width}}  {f'{figure.value:.2f} {figure.unit}':>9}  {earlier:>9}  {goal:>6}"


def main() -> None:
    """Run what was asked for, print the table, and keep the numbers for the next run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(BENCHMARKS), action="append")
    options = parser.parse_args()
    print(machine.in_words())
    facts = machine.facts()
    path = LAST / (re.sub(r"[^a-z0-9]+", "-", f"{facts['cpu']} {facts['capability']}".lower()).strip("-") + ".json")
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures = [figure for name in options.only or BENCHMARKS for figure in figures_of(name, run(name))]
    print()
    print("\n".join(table(figures, kept.get("figures", {}))))
    if "time" in kept:
        print(f"before: {kept['time']}")
    kept = {
        "machine": facts,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": kept.get("figures", {}) | {figure.name: figure.value for figure in figures},
    }
    LAST.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"kept for the next run: {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main()
