"""The kind ``local``: this process, or several on this machine, one or more a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ticketdiet.core.errors import DeviceError, UserError
from ticketdiet.core.options import BaseOptions
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.devices import ALL, choose_devices
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.executors.base import EXECUTORS, Executor, ExecutorKind, RunRequest
from ticketdiet.studies.executors.in_process import InProcess
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.processes import Processes
from ticketdiet.studies.executors.team import teams_of
from ticketdiet.studies.executors.teams import Teams
from ticketdiet.studies.machine import cpu_count
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import TrainingStage

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

    def check(self, request: RunRequest) -> None:
        """Refuse devices that are not here, and several workers on a store that they cannot share."""
        if self._per_stage(request) > 1:
            self._teams(request)
            return
        self._devices(request)
        self._workers(request)

    def start(self, request: RunRequest) -> Executor:
        """Start the processes, or none where one is enough."""
        if self._per_stage(request) > 1:
            return Teams(self._teams(request))
        orders = self._orders(request, self._workers(request))
        if len(orders) > 1:
            return Processes(orders)
        return InProcess(orders[0].begin(store=request.store, report=request.report))

    def _devices(self, request: RunRequest) -> tuple[str, ...]:
        return choose_devices(self.options.device if request.devices == ("auto",) else request.devices)

    def _per_stage(self, request: RunRequest) -> int:
        return request.devices_per_stage or self.options.devices_per_stage or 1

    def _orders(self, request: RunRequest, workers: int) -> list[WorkerOrder]:
        """Say how each worker works; they take the devices in turn, over and over."""
        devices = self._devices(request)
        taken = [devices[number % len(devices)] for number in range(workers)]
        threads = request.threads or self.options.threads or threads_per_worker(workers)
        return [
            WorkerOrder(
                request.store.url,
                (device,),
                threads,
                request.save_every_seconds,
                Sharing(workers, taken.count(device)),
            )
            for device in taken
        ]

    def _teams(self, request: RunRequest) -> list[WorkerOrder]:
        """Say how each team works; by default there are as many as the devices suffice for."""
        per_stage, asked = self._per_stage(request), request.workers or self.options.workers
        per_device = request.workers_per_device or self.options.workers_per_device or 1
        if per_device > 1:
            raise UserError(
                f"Got {per_stage} devices per stage and {per_device} workers per device.",
                expected="several devices for each stage, or several stages on each device",
                way_out="leave --workers-per-device or --devices-per-stage out",
            )
        _refuse_in_memory(request.store, f"{per_stage} devices per stage")
        devices = self._devices(request)
        if devices == ("cuda",):
            devices = choose_devices(ALL)
        teams = teams_of(devices, per_stage, asked)
        if len(teams) < (asked or 1):
            raise DeviceError(
                f"Got {per_stage} devices per stage{f' and {asked} workers' if asked else ''}, and "
                f"{len(devices)} device(s): {', '.join(devices)}.",
                expected="devices for at least as many stages at once as there are workers",
                way_out="--device all takes every GPU; or give fewer --devices-per-stage",
            )
        _refuse_uneven(request.plan, per_stage)
        processes = len(teams) * per_stage
        threads = request.threads or self.options.threads or threads_per_worker(processes)
        sharing = Sharing(len(teams), len(teams) if devices == ("cpu",) else 1)
        return [WorkerOrder(request.store.url, team, threads, request.save_every_seconds, sharing) for team in teams]

    def _workers(self, request: RunRequest) -> int:
        per_device = request.workers_per_device or self.options.workers_per_device
        default = default_workers(request.plan, self._devices(request), per_device)
        return _checked_workers(request.workers or self.options.workers, request.store, default)


def _refuse_uneven(plan: Plan, per_stage: int) -> None:
    """Refuse batches that the devices of a stage cannot share evenly, before anything is trained."""
    trained = (stage for stage in plan.stages.values() if isinstance(stage, TrainingStage) and stage.cost.steps)
    sizes = {stage.recipe.batch_size for stage in trained}
    uneven = sorted(size for size in sizes if size % per_stage)
    if uneven:
        raise UserError(
            f"Got {per_stage} devices per stage and batches of {', '.join(map(str, uneven))} examples.",
            expected="batch sizes that are multiples of the devices per stage",
            way_out="give another number of --devices-per-stage, or another batch_size",
        )


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
        _refuse_in_memory(store, f"{workers} workers")
    return 1


def _refuse_in_memory(store: ResultStore, asked: str) -> None:
    if not store.shared:
        raise UserError(
            f"Got {asked} on the store {store.url}, which is in the memory of this process.",
            expected="one worker, or a store that several processes can share",
            way_out="--workers 1, or a folder or a bucket for --store",
        )
