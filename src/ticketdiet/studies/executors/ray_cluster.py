"""The kind ``ray``: stages as tasks of Ray Core, on a Ray cluster that runs, or on one of this machine's own.

Ray places the tasks by the CPUs and GPUs they need. A stage whose worker or node is lost is handed in again, and goes
on from the last saved state. Images are put into Ray's object store once and travel to each node once.
"""

from __future__ import annotations

import contextlib
import math
import queue
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, field_validator

from ticketdiet.core.errors import DeviceError, TicketDietError, UserError, described
from ticketdiet.core.options import BaseOptions
from ticketdiet.studies.datasets import load_dataset
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.executors.base import (
    EXECUTORS,
    Asked,
    Ending,
    Executor,
    ExecutorKind,
    Progress,
    RunRequest,
    Warnings,
    WorkerLost,
)
from ticketdiet.studies.executors.orders import StageOrder, WorkerOrder
from ticketdiet.studies.executors.ray_connection import (
    Needs,
    alive_nodes,
    check_nodes,
    check_reachable,
    connect,
    import_ray,
)
from ticketdiet.studies.executors.ray_worker import Reports, ship, slots, work
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stage import Stage

SECONDS_BETWEEN_COUNTS = 10.0
LOSSES = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError")  # of Ray

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


@EXECUTORS.register("ray")
class RayCluster(ExecutorKind):
    """Tasks on a Ray cluster."""

    class Options(BaseOptions):
        """Where the cluster is, and what a stage needs.

        Attributes:
            address: ``auto`` for the cluster that this machine is part of; ``host:port`` of its head node;
                ``ray://host:port`` from a machine outside of it; ``local`` for a Ray of this machine's own, which is
                started and ended with the run and opens no port beyond loopback.
            gpus_per_stage: GPUs of each stage. A fraction lets stages share one; with two or more, they share the
                batches of the stage. By default one where the cluster has any.
            cpus_per_stage: CPUs that Ray sets aside for each stage; by default its threads.
            threads: Threads of each process that trains.
            retries: How often a stage is tried again after its worker or node was lost, or memory had run out there.
            most_stages: Stages handed to Ray at once; by default as many as there is room for. Give it where the
                cluster grows with what waits.
            ship_data: Whether images travel from this machine. With false, every node loads them itself.
        """

        address: str = "auto"
        gpus_per_stage: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
        cpus_per_stage: Positive | None = None
        threads: Count = 1
        retries: Annotated[int, Field(ge=0)] = 3
        most_stages: Count | None = None
        ship_data: bool = True

        @field_validator("gpus_per_stage")
        @classmethod
        def _several_are_whole(cls, gpus: float | None) -> float | None:
            if gpus is not None and gpus > 1 and gpus != int(gpus):
                raise ValueError("a fraction below 1, or a whole number")
            return gpus

    options: Options

    def completed(self, asked: Asked) -> Asked:
        """Return what a run asks for, with the options of this executor where it asks for nothing."""
        gpus = 0 if asked.devices == ("cpu",) else int(self.options.gpus_per_stage or 0)
        together = asked.devices_per_stage if (asked.devices_per_stage or 1) > 1 else max(1, gpus)
        return replace(asked, devices_per_stage=together, threads=asked.threads or self.options.threads)

    def check(self, request: RunRequest) -> None:
        """Refuse a store in memory, devices that Ray does not choose by, and a head node that does not answer."""
        if not request.store.shared:
            raise UserError(
                f"Got the executor ray with the store {request.store.url}, which is in the memory of this process.",
                expected="a store that all nodes see",
                way_out="--store with a folder on a shared file system, or a bucket",
            )
        if request.devices not in {("auto",), ("cpu",), ("cuda",)}:
            raise DeviceError(
                f"Got the device(s) {', '.join(request.devices)} with the executor ray.",
                expected="auto, cpu or cuda: Ray chooses which GPU",
                way_out="leave --device out, and give gpus_per_stage in executors.yaml",
            )
        per_device, gpus = request.workers_per_device, self.options.gpus_per_stage
        if per_device is not None and gpus is not None:
            raise UserError(
                f"Got {per_device} workers per device, and gpus_per_stage: {gpus:g}.",
                expected="one of the two, since each says how many stages share a GPU",
                way_out="leave --workers-per-device out, or gpus_per_stage in executors.yaml",
            )
        import_ray()
        check_reachable(self.options.address)

    def start(self, request: RunRequest) -> Executor:
        """Connect to the cluster, and make sure that its nodes can work for this run."""
        ray, own = import_ray(), False
        if not ray.is_initialized():
            own = True
            connect(ray, self.options.address)
        try:
            needs = self._needs(ray, request)
            check_nodes(ray, needs, request, self.options.most_stages)
            return _RayTasks(ray, self.options, needs, request, own=own)
        except BaseException:
            if own:
                ray.shutdown()
            raise

    def _needs(self, ray: Any, request: RunRequest) -> Needs:
        """CPUs, GPUs and devices of a stage."""
        asked, gpus = self.completed(request), self.options.gpus_per_stage
        together, threads = asked.devices_per_stage or 1, asked.threads or 1
        if request.devices == ("cpu",):
            gpus = 0.0
        elif gpus is None:
            there = any(node["Resources"].get("GPU") for node in alive_nodes(ray))
            gpus = 1.0 / (request.workers_per_device or 1)
            gpus = gpus if there or request.devices == ("cuda",) else 0.0
        if gpus and together > 1:
            gpus = float(together)
        devices = tuple(f"cuda:{number}" for number in range(together)) if gpus else ("cpu",) * together
        return Needs(self.options.cpus_per_stage or float(threads * together), gpus, devices, threads)


class _RayTasks:
    """Works each stage as a task of Ray."""

    def __init__(self, ray: Any, options: RayCluster.Options, needs: Needs, request: RunRequest, *, own: bool) -> None:
        self._ray, self._options, self._needs, self._request, self._own = ray, options, needs, request, own
        # Ray would count a lack of memory apart from other losses, and may try again for ever after one.
        self._work = ray.remote(work).options(max_retries=0, num_cpus=needs.cpus, num_gpus=needs.gpus)
        self._losses = tuple(getattr(ray.exceptions, name) for name in LOSSES)
        self._reports = ray.remote(Reports).options(num_cpus=0, max_restarts=-1).remote()
        self._asked = self._reports.take.remote()
        self._images: dict[DatasetSpec, Any] = {}
        self._running: dict[Any, Future[Warnings]] = {}
        self._lost: Counter[str] = Counter()  # workers, by stage
        self._again: queue.SimpleQueue[tuple[Stage, Future[Warnings], float]] = queue.SimpleQueue()
        self._counted = (float("-inf"), 0)
        self._order = WorkerOrder(
            request.store.url, needs.devices, needs.threads, request.save_every_seconds, _sharing(ray, needs)
        )

    @property
    def capacity(self) -> int:
        """Stages there is room for now, at least one; the cluster may grow and shrink."""
        most = self._request.workers or self._options.most_stages
        if most is not None:
            return most
        then, count = self._counted
        if time.monotonic() - then >= SECONDS_BETWEEN_COUNTS:
            nodes = alive_nodes(self._ray)
            count = max(1, sum(slots(node["Resources"], self._needs.resources) for node in nodes))
            self._counted = time.monotonic(), count
        return count

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Hand the stage to Ray, which starts it where there is room."""
        future: Future[Warnings] = Future()
        self._begin(stage, future)
        return future

    def _begin(self, stage: Stage, future: Future[Warnings]) -> None:
        order = StageOrder.of_stages([stage], self._order)
        task = self._work.remote(order.to_text(), self._shipped(stage.dataset), self._reports)
        self._running[task] = future
        task.future().add_done_callback(lambda done: self._end(task, stage, done))

    def progress(self) -> list[Progress]:
        """Begin stages again that were lost, and return the steps reported since the last call, without waiting."""
        self._begin_again()
        ready, _ = self._ray.wait([self._asked], timeout=0)
        if not ready:
            return []
        told: list[Progress] = []
        with contextlib.suppress(self._ray.exceptions.RayError):  # the actor was lost with its node, and starts again
            told = self._ray.get(self._asked)
        self._asked = self._reports.take.remote()
        return told

    def _begin_again(self) -> None:
        """Begin stages that were lost, each where fewer tasks run than it may have beside it, or none."""
        for _ in range(self._again.qsize()):
            stage, future, most = self._again.get()
            if len(self._running) < most or not self._running:
                self._begin(stage, future)
            else:
                self._again.put((stage, future, most))

    def close(self, *, now: bool = False) -> None:
        """Wait for what runs and let go of the cluster; with ``now``, end the tasks at once."""
        for task in list(self._running) if now else ():
            self._ray.cancel(task, force=True)
        if self._running and not now:
            self._ray.wait(list(self._running), num_returns=len(self._running))
        self._ray.kill(self._reports)
        if self._own:
            self._ray.shutdown()

    def _shipped(self, dataset: DatasetSpec) -> Any:
        """The images in Ray's object store, put there once; None where nodes load them themselves."""
        if not self._options.ship_data or len(self._needs.devices) > 1:
            return None
        if dataset not in self._images:
            self._images[dataset] = self._ray.put(ship(load_dataset(dataset)))
        return self._images[dataset]

    def _end(self, task: Any, stage: Stage, done: Future[Ending]) -> None:
        future = self._running.pop(task)
        try:
            ending = done.result()
        except TicketDietError as error:  # of a cluster at ray://, whose handles raise an error that a task returned
            ending = error
        except Exception as error:  # of Ray, or whatever an ending became on its way
            self._lost[stage.address] += 1
            if isinstance(error, self._losses) and self._lost[stage.address] <= self._options.retries:
                # Beside all those that run now there was too little memory.
                most = len(self._running) if isinstance(error, self._ray.exceptions.OutOfMemoryError) else math.inf
                self._again.put((stage, future, most))  # for this is a thread of Ray's
            else:
                future.set_exception(_lost(stage, error, self._options.retries))
            return
        if isinstance(ending, Exception):
            future.set_exception(ending)
        else:
            future.set_result(ending)


def _sharing(ray: Any, needs: Needs) -> Sharing:
    """With how many tasks of the run a task may share its node and its device."""
    on_node = max([slots(node["Resources"], needs.resources) for node in alive_nodes(ray)], default=1)
    gpus = needs.gpus
    return Sharing(max(1, on_node), max(1, int(1 / gpus) if gpus else on_node))


def _lost(stage: Stage, error: Exception, retries: int) -> WorkerLost:
    return WorkerLost(
        f"{stage.label} was not made, and Ray says: {described(error)}",
        expected=f"a worker that ends with a result, within {retries} further tr{'y' if retries == 1 else 'ies'}",
        way_out="look for a lack of memory on the nodes (a larger cpus_per_stage lets fewer stages share one), and for "
        "ticketdiet in their environment; then run it again",
    )
