"""Opening and re-checking a finished study of 1 000 stages must take less than 3 seconds.

The stages are those of quickstart with many levels; their results are made up, with the files of real ones. Timed in a
fresh process, as a second ``ticketdiet run`` does it: read and plan the study, open the store, check every stage.

Then whole commands are timed by the clock, from the start of the process to its end, the least of several: a second
``ticketdiet run quickstart``, which must say within 2 seconds that there is nothing to do, and ``--help``::

    python benchmarks/study_speed.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import machine
from run_all import COMMAND_GOALS
from ticketdiet.reports.drawn import Shown, record_shown, what_is_shown
from ticketdiet.reports.reading import read_rows, read_study
from ticketdiet.reports.table import study_tables
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import load_spec
from ticketdiet.studies.plan import Plan, plan_study
from ticketdiet.studies.run import stages_left

GOAL = 3.0  # seconds
TIMES = 5  # that a command is run
ROWS = [
    {"step": step, "metric": metric, "split": split, "value": 0.5}
    for step in (100, 200, 300)
    for metric in ("accuracy", "loss")
    for split in ("train", "test")
]


def plan_of(levels: int) -> Plan:
    """Plan quickstart with this many levels: about ten stages each."""
    return plan_study(load_spec("quickstart", [f"pruning.levels={levels}", "replicates=2"]))


def make_up(plan: Plan, store: ResultStore, weights: int) -> None:
    """Keep a result of ordinary shape for every stage."""
    tensors = {"weights": {"w": torch.zeros(weights)}, "mask": {"w": torch.ones(weights, dtype=torch.uint8)}}
    documents = {"rows": ROWS, "facts": {"density": 0.5}}
    for address, stage in plan.stages.items():
        store.write(
            address,
            kind=stage.kind,
            version=stage.version,
            spec=stage.identity,
            inputs=stage.inputs,
            tensors=tensors,
            documents=documents,
        )


def time_opening(levels: int, url: str) -> None:
    """Print the seconds of each part of opening a finished study, as JSON."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - start
        return result

    plan = timed("read and plan", lambda: plan_of(levels))
    store = timed("open the store", lambda: ResultStore.open(url))
    assert isinstance(plan, Plan)
    assert isinstance(store, ResultStore)
    left = timed("check every stage", lambda: stages_left(plan, store))
    assert left == {}
    seconds["opening and re-checking"] = sum(seconds.values())
    timed("read all rows", lambda: read_rows(plan, store))
    print(json.dumps({"stages": len(plan.stages), "seconds": seconds}))


def finish_quickstart(folder: Path, weights: int) -> list[str]:
    """Make up the results, and one figure, of quickstart as it stands; return the options that lead to them."""
    plan, store, out = plan_study(load_spec("quickstart")), ResultStore.open(folder / "runs"), folder / "figures"
    make_up(plan, store, weights)
    out.mkdir()
    (out / "made-up.png").write_bytes(b"")
    tables = study_tables(read_study(plan, store))
    record_shown(out, what_is_shown(plan, store), Shown(tables, (out / "made-up.png",)))
    return ["--store", str(folder / "runs"), "--out", str(out)]


def time_commands(weights: int) -> dict[str, float]:
    """Return the least seconds of each command, in processes of their own and in turn."""
    with tempfile.TemporaryDirectory() as folder:
        finished = ["run", "quickstart", *finish_quickstart(Path(folder), weights)]
        commands = {"run quickstart": finished, "--help": ["--help"], "run --help": ["run", "--help"]}
        _seconds_of(finished)  # warms caches of files
        rounds = [{name: _seconds_of(command) for name, command in commands.items()} for _ in range(TIMES)]
    return {name: min(one[name] for one in rounds) for name in commands}


def _seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "ticketdiet", *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    assert "--help" in command or done.stdout.startswith("Nothing to do"), done.stdout
    return seconds


def main() -> None:
    """Make up a finished study, and time its opening in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, default=98)
    parser.add_argument("--weights", type=int, default=20_000, help="numbers in each result")
    parser.add_argument("--store", help="only time the opening of this finished store, in this process")
    options = parser.parse_args()
    if options.store:
        time_opening(options.levels, options.store)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_up(plan_of(options.levels), ResultStore.open(folder), options.weights)
        again = [sys.executable, __file__, "--levels", str(options.levels), "--store", folder]
        run = subprocess.run(again, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(run.stdout.splitlines()[-1]) | {"commands": time_commands(options.weights)}
    print(machine.in_words())
    for name, seconds in result["seconds"].items():
        print(f"{name:<26}{seconds:6.2f} s")
    print(f"{result['stages']} stages (goal: opening and re-checking in less than {GOAL} s)")
    for name, seconds in result["commands"].items():
        print(f"ticketdiet {name:<15}{seconds:6.2f} s (goal: {COMMAND_GOALS[name]:g} s)")
    print(json.dumps(result | {"machine": machine.facts()}))


if __name__ == "__main__":
    main()
