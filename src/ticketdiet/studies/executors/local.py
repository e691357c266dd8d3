"""The kind ``local``: this process, or several on this machine, one or more a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import BaseOptions
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.context import Context
from ticketdiet.studies.devices import choose_devices
from ticketdiet.studies.executors.base import EXECUTORS, Executor, ExecutorKind, RunRequest
from ticketdiet.studies.executors.in_process import InProcess
from ticketdiet.studies.executors.processes import Processes
from ticketdiet.studies.machine import cpu_count, tune_allocator
from ticketdiet.studies.plan import Plan

MOST_WORKERS = 8

Count = Annotated[int, Field(ge=1)]


@EXECUTORS.register("local")
class Local(ExecutorKind):
    """Processes on this machine, which share out its devices and cores."""

    here = True

    class Options(BaseOptions):
        """What the command line and Python can also say, for those that do not.

        Attributes:
            workers: Processes.
            workers_per_device: Processes on each device.
            device: Names of devices, as for ``--device``.
            threads: Threads of each process.
        """

        workers: Count | None = None
        workers_per_device: Count | None = None
        device: str | tuple[str, ...] = "auto"
        threads: Count | None = None

    options: Options

    def check(self, request: RunRequest) -> None:
        """Refuse devices that are not here, and several workers on a store that they cannot share."""
        self._devices(request)
        self._workers(request)

    def start(self, request: RunRequest) -> Executor:
        """Start the processes, or none where one is enough."""
        devices, workers = self._devices(request), self._workers(request)
        threads = request.threads or self.options.threads or threads_per_worker(workers)
        if workers > 1:
            return Processes(request.store.url, devices, workers, threads, request.save_every_seconds)
        torch.set_num_threads(threads)
        tune_allocator()
        return InProcess(
            Context(request.store, devices[0], save_every_seconds=request.save_every_seconds, report=request.report)
        )

    def _devices(self, request: RunRequest) -> tuple[str, ...]:
        return choose_devices(self.options.device if request.devices == ("auto",) else request.devices)

    def _workers(self, request: RunRequest) -> int:
        per_device = request.workers_per_device or self.options.workers_per_device
        default = default_workers(request.plan, self._devices(request), per_device)
        return _checked_workers(request.workers or self.options.workers, request.store, default)


def default_workers(plan: Plan, devices: Sequence[str], per_device: int | None = None) -> int:
    """Processes that a plan is worth: no more than cores, chains of levels, or eight; one per GPU.

    Args:
        plan: The stages.
        devices: torch devices.
        per_device: Processes on each device; None for the above.

    Returns:
        Their number, at least 1.
    """
    if per_device is not None or any(device.startswith("cuda") for device in devices):
        return len(devices) * (per_device or 1)
    chains = len(plan.study.arms) * plan.study.replicates * (1 + plan.study.children)
    return max(1, min(cpu_count(), chains, MOST_WORKERS))


def threads_per_worker(workers: int) -> int:
    """Threads of each of ``workers`` processes: the cores, divided among them."""
    return max(1, cpu_count() // workers)


def _checked_workers(workers: int | None, store: ResultStore, default: int) -> int:
    if store.shared:
        return workers or default
    if workers is not None and workers > 1:
        raise UserError(
            f"Got {workers} workers on the store {store.url}, which is in the memory of this process.",
            expected="one worker, or a store that several processes can share",
            way_out="--workers 1, or a folder or a bucket for --store",
        )
    return 1
