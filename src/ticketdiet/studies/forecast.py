"""What a run says before it begins: how long it takes on this machine, and what the other precision would bring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from ticketdiet.studies.devices import choose_devices
from ticketdiet.studies.executors.base import Executor, ExecutorKind
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.precision_advice import precision_advice
from ticketdiet.studies.time_left import time_left

SECONDS_NOT_WORTH_A_WORD = 60.0  # a run as short is over before one has read how long it takes


def forecast(
    plan: Plan, left: Collection[str], *, device: str, workers: int | None = None, threads: int | None = None
) -> str:
    """Measure for about a second how long a run takes here.

    Args:
        plan: The stages.
        left: Addresses of those still to be made.
        device: torch device of the run.
        workers: Processes of the run, by default as many as it chooses.
        threads: Threads of each, by default as many as the run chooses.

    Returns:
        Up to two lines for people; empty when there is nothing to say.
    """
    rest = time_left(plan, left, device=device, workers=workers, threads=threads)
    time = "" if rest is None or rest.seconds < SECONDS_NOT_WORTH_A_WORD else rest.in_words()
    return "\n".join(filter(None, (time, precision_advice(plan, left, device=device, workers=workers))))


def say_nothing(plan: Plan, left: Collection[str]) -> str:
    """Say nothing of a run of which nothing is known."""
    del plan, left
    return ""


def forecaster(
    executor: Executor | ExecutorKind | None,
    devices: Sequence[str],
    *,
    workers: int | None = None,
    threads: int | None = None,
) -> Callable[[Plan, Collection[str]], str]:
    """Return what says, of a plan and the addresses left, how long the run takes.

    Args:
        executor: Where it runs; None for this machine. Of other machines nothing is known, and nothing is said.
        devices: Names of the torch devices of the run.
        workers: Processes of the run, by default as many as it chooses.
        threads: Threads of each, by default as many as the run chooses.

    Raises:
        DeviceError: When a device is not here.
    """
    if executor is not None and not (isinstance(executor, ExecutorKind) and executor.here):
        return say_nothing
    return partial(forecast, device=choose_devices(devices)[0], workers=workers, threads=threads)
