"""What a run says before it begins: how long it takes on this machine, and what the other precision would bring."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from ticketdiet.studies.devices import choose_devices
from ticketdiet.studies.executors.base import Executor, ExecutorKind, RunOptions
from ticketdiet.studies.executors.local import Local, default_workers
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.precision_advice import precision_advice
from ticketdiet.studies.time_left import time_left

SECONDS_NOT_WORTH_A_WORD = 60.0  # a run as short is over before one has read how long it takes


def forecast(plan: Plan, left: Collection[str], *, asked: RunOptions) -> str:
    """Measure for about a second how long a run takes here.

    Args:
        plan: The stages.
        left: Addresses of those still to be made.
        asked: Processes, threads and devices of the run, which are here.

    Returns:
        Up to two lines for people; empty when there is nothing to say.
    """
    device, threads = asked.devices[0], asked.threads
    workers = asked.workers or default_workers(plan, asked.devices, asked.workers_per_device, threads=threads)
    rest = time_left(plan, left, device=device, workers=workers, threads=threads)
    time = "" if rest is None or rest.seconds < SECONDS_NOT_WORTH_A_WORD else rest.in_words()
    advice = precision_advice(plan, left, device=device, workers=workers, threads=threads)
    return "\n".join(filter(None, (time, advice)))


def say_nothing(plan: Plan, left: Collection[str]) -> str:
    """Say nothing of a run of which nothing is known."""
    del plan, left
    return ""


def forecaster(executor: Executor | ExecutorKind | None, asked: RunOptions) -> Callable[[Plan, Collection[str]], str]:
    """Return what says, of a plan and the addresses left, how long the run takes.

    Args:
        executor: Where it runs; None for this machine. Of other machines nothing is known, and nothing is said; neither
            is it of several devices for each stage.
        asked: What the run asks for; the options of the executor hold where it asks for nothing.

    Raises:
        DeviceError: When a device is not here.
    """
    place = Local() if executor is None else executor
    if not (isinstance(place, ExecutorKind) and place.here):
        return say_nothing
    completed = place.completed(asked)
    if (completed.devices_per_stage or 1) > 1:
        return say_nothing
    return partial(forecast, asked=replace(completed, devices=choose_devices(completed.devices)))
