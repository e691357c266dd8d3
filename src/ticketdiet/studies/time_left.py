"""How long the rest of a run will take on this machine, from a rate that is measured on the spot."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from ticketdiet.studies.executors.local import default_workers, threads_per_worker
from ticketdiet.studies.network import Cost
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.probing import examples_like, most_work, quietly, step_timer_of, total_cost, trainings_left
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.training.precision import PROBE, STEPS_OF_A_MEASUREMENT, Measure
from ticketdiet.training.recipe import Precision

BUDGET = 0.5  # seconds of measuring, about


@dataclass(frozen=True)
class TimeLeft:
    """What is left of a run.

    Attributes:
        seconds: Until its end, if every training took as long per example as a dense one.
        rate: Examples per second in one process, measured on the largest training.
        processes: How many processes train.
        has_sparse: Whether there are sparse trainings among it, which take less than that where the kernels apply.
    """

    seconds: float
    rate: float
    processes: int
    has_sparse: bool

    def in_words(self) -> str:
        """Return one line for people."""
        processes = f"{self.processes} process{'es' if self.processes > 1 else ''}"
        each = " each" if self.processes > 1 else ""
        bound = "at most about" if self.has_sparse else "about"
        rate = f"{self.rate:,.0f} images per second{each}"
        return f"This takes {bound} {duration(self.seconds)} here, with {processes} at {rate}."


def time_left(
    plan: Plan, left: Collection[str], *, device: str, workers: int | None = None, threads: int | None = None
) -> TimeLeft | None:
    """Measure steps of the study's largest training for about half a second, and say how long the rest takes.

    Args:
        plan: The study's stages.
        left: Addresses of those still to be made.
        device: torch device of the run.
        workers: Processes of the run, by default as many as it chooses.
        threads: Threads of each, by default as many as the run chooses.

    Returns:
        None where nothing is left to train, on a GPU, and for a network that fails: the run will say how.
    """
    trainings = trainings_left(plan, left)
    if device != "cpu" or not trainings:
        return None
    largest, processes = most_work(trainings), workers or default_workers(plan, [device], threads=threads)
    try:
        with quietly(threads or threads_per_worker(processes)):
            measure = step_timer_of(largest, largest.recipe)
            per_example = _seconds_per_example(measure, largest.recipe.precision, largest.recipe.batch_size)
    except Exception:  # whatever a network of the user's raises
        return None
    # Processes wait for each other where one chain of levels is longer than the work that each of them gets.
    evenly, chain = total_cost(trainings), _longest_chain(plan, left)
    work = max(examples_like(largest, evenly) / processes, examples_like(largest, chain))
    has_sparse = any(isinstance(stage, MaskedTraining) and "previous" in stage.inputs for stage in trainings)
    return TimeLeft(work * per_example, 1 / per_example, processes, has_sparse)


def _seconds_per_example(measure: Measure, precision: Precision, batch_size: int) -> float:
    begun, size = time.perf_counter(), min(PROBE, batch_size)
    found = measure(precision, size) / size
    room = BUDGET - (time.perf_counter() - begun)
    larger = min(batch_size, int(room / (STEPS_OF_A_MEASUREMENT * found)))
    # What a small batch took says little about a large one.
    return measure(precision, larger) / larger if larger > size else found


def _longest_chain(plan: Plan, left: Collection[str]) -> Cost:
    """What the trainings take that are left in the chain of stages that takes longest, one after another."""
    remaining, longest = set(left), dict[str, Cost]()
    for address, stage in plan.stages.items():
        before = max((longest[needed] for needed in stage.inputs.values()), key=_flops, default=Cost())
        longest[address] = before + (stage.cost if address in remaining else Cost())
    return max(longest.values(), key=_flops)


def _flops(cost: Cost) -> int:
    return cost.flops


def duration(seconds: float) -> str:
    """Return a time in words, two units at most: ``"3 h 20 min"``."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days {hours % 24} h"
