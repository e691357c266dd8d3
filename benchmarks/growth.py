"""How planning, running, opening and summarising a study grow with its number of stages: 100, 1 000 and 10 000.

The studies are quickstart without children and with 20 levels, for as many replicates as it takes. Their results are
made up: an executor writes results of ordinary shape instead of training, so that what is left of a run is what it
costs to schedule and lease stages. Each number of stages has fresh processes, one that runs and one that opens. Beside
seconds stand those of the processor, which other programs and the disk do not change::

    python benchmarks/growth.py
    python benchmarks/growth.py --stages 100 1000 --figure growth.png
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch

import machine
import ticketdiet as td
from run_all import GROWTH_GOALS
from ticketdiet.reports.status import StatusReader
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import load_spec
from ticketdiet.studies.plan import Plan, plan_study
from ticketdiet.studies.record import record_plan
from ticketdiet.studies.run import RunObserver, run_plan
from ticketdiet.studies.stage import Stage

PER_REPLICATE = 91  # stages
MOST_GIB = 1.0  # of a process that plans 10 000 stages
ROWS = [
    {"step": 300, "metric": metric, "split": split, "value": 0.5}
    for metric in ("accuracy", "loss")
    for split in ("train", "test")
]


def settings_of(stages: int) -> list[str]:
    """Return overrides of quickstart that give about this many stages."""
    return ["children=0", "pruning.levels=20", f"replicates={max(1, round(stages / PER_REPLICATE))}"]


class MadeUp:
    """An executor that writes made-up results, and counts its own seconds, to be taken off those of the run."""

    capacity = 2

    def __init__(self, store: ResultStore) -> None:
        self.spent = (0.0, 0.0)
        self._store = store
        self._tensors = {"weights": {"w": torch.zeros(1000)}, "mask": {"w": torch.ones(1000, dtype=torch.uint8)}}

    def submit(self, stage: Stage) -> Future[tuple[str, ...]]:
        """Write a result."""
        start = now()
        self._store.write(
            stage.address,
            kind=stage.kind,
            version=stage.version,
            spec=stage.identity,
            inputs=stage.inputs,
            tensors=self._tensors,
            documents={"rows": ROWS, "facts": {"density": 0.5}},
            provenance={"finished": "2026-01-01T00:00:00+00:00", "seconds": 1.0},
        )
        done: Future[tuple[str, ...]] = Future()
        done.set_result(())
        clock, processor = since(start)
        self.spent = (self.spent[0] + clock, self.spent[1] + processor)
        return done

    def progress(self) -> list[tuple[str, int]]:
        """Nothing to tell."""
        return []

    def close(self, *, now: bool = False) -> None:
        """Nothing runs."""


def now() -> tuple[float, float]:
    """Return the time of a clock, and that of the processor."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Return the seconds since ``start`` by both."""
    clock, processor = now()
    return clock - start[0], processor - start[1]


class Clock:
    """Seconds of the parts of a process, those of its processor, and the most memory that it had."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], Any], executor: MadeUp | None = None) -> Any:
        """Return what ``work`` gives, and keep how long it took without what ``executor`` took."""
        start = now()
        result = work()
        spent = (0.0, 0.0) if executor is None else executor.spent
        clock, processor = since(start)
        self.seconds[name], self.processor[name] = clock - spent[0], processor - spent[1]
        return result

    def tell(self, plan: Plan) -> None:
        """Print everything as one line of JSON."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        gib = peak / (1 << 30 if sys.platform == "darwin" else 1 << 20)
        print(
            json.dumps({"stages": len(plan.stages), "seconds": self.seconds, "processor": self.processor, "GiB": gib})
        )


def time_run(stages: int, url: str) -> None:
    """Plan, record and run a study whose results are made up."""
    warm_up()
    clock, spec, store = Clock(), load_spec("quickstart", settings_of(stages)), ResultStore.open(url)
    plan = clock.time("plan", lambda: plan_study(spec))
    clock.time("record", lambda: record_plan(store, plan))
    executor = MadeUp(store)
    clock.time("schedule", lambda: run_plan(plan, store, executor=executor, observer=RunObserver()), executor)
    clock.tell(plan)


def time_opening(stages: int, url: str) -> None:
    """Open a finished study, as a second ``run``, ``status`` and ``results`` do it."""
    warm_up()
    clock, study = Clock(), td.load_study("quickstart", settings_of(stages), store=url)
    clock.time("open and find nothing to do", lambda: study.run(observer=RunObserver()))
    plan = clock.time("read the record", lambda: study.plan)
    clock.time("status", lambda: StatusReader(plan, study.url).read(study.store))
    clock.time("results", study.results)
    clock.tell(plan)


def warm_up() -> None:
    """Import what is imported late, and read the images, which takes as long for every study."""
    with tempfile.TemporaryDirectory() as url:
        study = td.load_study("quickstart", ["replicates=1", "pruning.levels=1", "children=0"], store=url)
        store = ResultStore.open(url)
        run_plan(study.plan, store, executor=MadeUp(store), observer=RunObserver())
        study.results()


def measure(stages: int) -> dict[str, Any]:
    """Time both in processes of their own."""
    with tempfile.TemporaryDirectory() as url:
        found = [_in_process(what, stages, url) for what in ("run", "open")]
    both = {key: found[0][key] | found[1][key] for key in ("seconds", "processor")}
    return {"stages": found[0]["stages"], **both, "GiB": max(one["GiB"] for one in found)}


def _in_process(what: str, stages: int, url: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--what", what, "--stages", str(stages), "--store", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print seconds (and those of the processor) by part and number of stages, and the most memory."""
    print(f"{'':<28}" + "".join(f"{one['stages']:>10,} stages" for one in results) + "    goal")
    for name in results[-1]["seconds"]:
        goal = f"{GROWTH_GOALS[name]:g} s" if name in GROWTH_GOALS else ""
        times = "".join(f"{one['seconds'][name]:>8.2f} ({one['processor'][name]:>5.2f}) s" for one in results)
        print(f"{name:<28}{times}{goal:>8}")
    print(f"{'most memory':<28}" + "".join(f"{one['GiB']:>13.2f} GiB" for one in results) + f"{MOST_GIB:>4g} GiB")


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw seconds of the processor against stages, beside a line for work that grows as the study does."""
    from ticketdiet.reports.style import arm_styles, house_style, new_figure, save_figure, side_legend

    stages = [one["stages"] for one in results]
    with house_style():
        figure = new_figure("Time against the number of stages", width=7.0)
        axes = figure.add_subplot()
        for name, style in arm_styles(results[-1]["processor"]).items():
            axes.loglog(stages, [one["processor"][name] for one in results], label=name, **vars(style))
        slowest = max(results[-1]["processor"].values())
        axes.loglog(stages, [2 * slowest * n / stages[-1] for n in stages], "--", color="0.5", label="proportional")
        axes.set(xlabel="stages of the study (log scale)", ylabel="processor time (s, log scale)")
        side_legend(figure, axes, "part")
    save_figure(figure, path.with_suffix(""))


def main() -> None:
    """Measure each number of stages, print a table, and draw it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--figure", type=Path, help="draw seconds against stages into this file")
    parser.add_argument("--what", choices=("run", "open"), help="only this part, in this process")
    parser.add_argument("--store", help="store of that part")
    options = parser.parse_args()
    if options.what:
        {"run": time_run, "open": time_opening}[options.what](options.stages[0], options.store)
        return
    print(machine.in_words())
    results = [measure(stages) for stages in options.stages]
    print_table(results)
    if options.figure:
        draw(results, options.figure)
    print(json.dumps({"results": results, "machine": machine.facts()}))


if __name__ == "__main__":
    main()
