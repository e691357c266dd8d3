"""The kind ``local``: this process, or several on this machine, one or more a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ticketdiet.core.errors import DeviceError, UserError
from ticketdiet.core.options import BaseOptions
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.devices import ALL, choose_devices
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.executors.base import EXECUTORS, Asked, Executor, ExecutorKind, RunRequest
from ticketdiet.studies.executors.in_process import InProcess
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.processes import Processes
from ticketdiet.studies.executors.team import teams_of
from ticketdiet.studies.executors.teams import Teams
from ticketdiet.studies.machine import cpu_count, threads_asked
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
            devices_per_stage: Devices that work each stage together.
            threads: Threads of each process.
        """

        workers: Count | None = None
        workers_per_device: Count | None = None
        device: str | tuple[str, ...] = "auto"
        devices_per_stage: Count | None = None
        threads: Count | None = None

    options: Options

    def completed(self, asked: Asked) -> Asked:
        """Return what a run asks for, with the options of this executor where it asks for nothing."""
        options = self.options
        chosen = (options.device,) if isinstance(options.device, str) else options.device
        return replace(
            asked,
            workers=asked.workers or options.workers,
            workers_per_device=asked.workers_per_device or options.workers_per_device,
            devices=chosen if asked.devices == ("auto",) else asked.devices,
            devices_per_stage=asked.devices_per_stage or options.devices_per_stage,
            threads=asked.threads or options.threads,
        )

    def check(self, request: RunRequest) -> None:
        """Refuse devices that are not here, and several workers on a store that they cannot share."""
        asked = self.completed(request)
        if (asked.devices_per_stage or 1) > 1:
            _team_orders(asked)
        else:
            _worker_orders(asked)

    def start(self, request: RunRequest) -> Executor:
        """Start the processes, or none where one is enough."""
        asked = self.completed(request)
        if (asked.devices_per_stage or 1) > 1:
            return Teams(_team_orders(asked))
        orders = _worker_orders(asked)
        if len(orders) > 1:
            return Processes(orders)
        return InProcess(orders[0].begin(store=asked.store, report=asked.report))


def _worker_orders(asked: RunRequest) -> list[WorkerOrder]:
    """Say how each worker works; they take the devices in turn, over and over."""
    devices = choose_devices(asked.devices)
    default = default_workers(asked.plan, devices, asked.workers_per_device, threads=asked.threads)
    workers = _checked_workers(asked.workers, asked.store, default)
    taken = [devices[number % len(devices)] for number in range(workers)]
    threads = asked.threads or threads_per_worker(workers)
    return [
        WorkerOrder(
            asked.store.url, (device,), threads, asked.save_every_seconds, Sharing(workers, taken.count(device))
        )
        for device in taken
    ]


def _team_orders(asked: RunRequest) -> list[WorkerOrder]:
    """Say how each team works; by default there are as many as the devices suffice for."""
    per_stage, per_device = asked.devices_per_stage or 1, asked.workers_per_device or 1
    if per_device > 1:
        raise UserError(
            f"Got {per_stage} devices per stage and {per_device} workers per device.",
            expected="several devices for each stage, or several stages on each device",
            way_out="leave --workers-per-device or --devices-per-stage out",
        )
    _refuse_in_memory(asked.store, f"{per_stage} devices per stage")
    devices = choose_devices(asked.devices)
    if devices == ("cuda",):
        devices = choose_devices(ALL)
    teams = teams_of(devices, per_stage, asked.workers)
    if len(teams) < (asked.workers or 1):
        raise DeviceError(
            f"Got {per_stage} devices per stage{f' and {asked.workers} workers' if asked.workers else ''}, and "
            f"{len(devices)} device(s): {', '.join(devices)}.",
            expected="devices for at least as many stages at once as there are workers",
            way_out="--device all takes every GPU; or give fewer --devices-per-stage",
        )
    threads = asked.threads or threads_per_worker(len(teams) * per_stage)
    sharing = Sharing(len(teams), len(teams) if devices == ("cpu",) else 1)
    return [WorkerOrder(asked.store.url, team, threads, asked.save_every_seconds, sharing) for team in teams]


def default_workers(
    plan: Plan, devices: Sequence[str], per_device: int | None = None, *, threads: int | None = None
) -> int:
    """Processes that a plan is worth: no more than the cores suffice for, chains of levels, or eight; one per GPU.

    Args:
        plan: The stages.
        devices: torch devices.
        per_device: Processes on each device; None for the above.
        threads: Threads of each process; None for what the environment asks for.

    Returns:
        Their number, at least 1.
    """
    if per_device is not None or any(device.startswith("cuda") for device in devices):
        return len(devices) * (per_device or 1)
    chains = len(plan.study.arms) * plan.study.replicates * (1 + plan.study.children)
    return max(1, min(cpu_count() // (threads or threads_asked() or 1), chains, MOST_WORKERS))


def threads_per_worker(workers: int) -> int:
    """Threads of each of ``workers`` processes: what ``OMP_NUM_THREADS`` says, or else the cores divided among them."""
    return threads_asked() or max(1, cpu_count() // workers)


def _checked_workers(workers: int | None, store: ResultStore, default: int) -> int:
    if store.shared:
        return workers or default
    if workers is not None and workers > 1:
        _refuse_in_memory(store, f"{workers} workers")
    return 1


def _refuse_in_memory(store: ResultStore, asked: str) -> None:
    if not store.shared:
        raise UserError(
            f"Got {asked} on the store {store.url}, which is in the memory of this process.",
            expected="one worker, or a store that several processes can share",
            way_out="--workers 1, or a folder or a bucket for --store",
        )
