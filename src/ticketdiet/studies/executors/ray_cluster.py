"""The kind ``ray``: stages as tasks of Ray Core, on a Ray cluster that runs, or on one of this machine's own.

Ray places the tasks by the CPUs and GPUs they need, and starts a task again when its worker or node is lost; it then
goes on from the last saved state. Images are put into Ray's object store once and travel to each node once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field, field_validator

from ticketdiet.core.errors import DeviceError, StoreError, TicketDietError, UserError
from ticketdiet.core.extras import import_extra
from ticketdiet.core.options import BaseOptions
from ticketdiet.studies.datasets import load_dataset
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.executors.base import (
    EXECUTORS,
    Executor,
    ExecutorKind,
    Progress,
    RunRequest,
    Warnings,
    WorkerLost,
)
from ticketdiet.studies.executors.code_version import code_version, compare_code
from ticketdiet.studies.executors.ray_worker import (
    NodeReport,
    Order,
    Outcome,
    Reports,
    describe_node,
    ship,
    slots,
    work,
)
from ticketdiet.studies.machine import cpu_count
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stage_data import stage_to_data

SECONDS_TO_CONNECT = 5.0
SECONDS_TO_ANSWER = 120.0  # for a worker of each node, which imports PyTorch first
SECONDS_BETWEEN_COUNTS = 10.0
PORTS = {"ray": 10001, "": 6379}  # of Ray's client server, and of a head node
LOOPBACK = "127.0.0.1"

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
            retries: How often a stage is tried again after its worker or node was lost.
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
        _import_ray()
        _check_reachable(self.options.address)

    def start(self, request: RunRequest) -> Executor:
        """Connect to the cluster, and make sure that its nodes can work for this run."""
        ray, own = _import_ray(), False
        if not ray.is_initialized():
            own = True
            _connect(ray, self.options.address)
        try:
            needs = self._needs(ray, request)
            _check_nodes(ray, needs, request, self.options.most_stages)
            return _RayTasks(ray, self.options, needs, request, own=own)
        except BaseException:
            if own:
                ray.shutdown()
            raise

    def _needs(self, ray: ModuleType, request: RunRequest) -> _Needs:
        """CPUs, GPUs and devices of a stage."""
        gpus, together = self.options.gpus_per_stage, request.devices_per_stage or 1
        if request.devices == ("cpu",):
            gpus = 0.0
        elif gpus is None:
            there = any(node["Resources"].get("GPU") for node in _alive(ray))
            gpus = float(together) if together > 1 else 1.0 / (request.workers_per_device or 1)
            gpus = gpus if there or request.devices == ("cuda",) else 0.0
        together = max(together, int(gpus))
        devices = tuple(f"cuda:{number}" for number in range(together)) if gpus else ("cpu",) * together
        threads = request.threads or self.options.threads
        return _Needs(self.options.cpus_per_stage or float(threads * together), gpus, devices, threads)


class _Needs:
    """What each stage takes of a node."""

    def __init__(self, cpus: float, gpus: float, devices: tuple[str, ...], threads: int) -> None:
        self.resources = {"CPU": cpus, "GPU": gpus}
        self.options = {"num_cpus": cpus, "num_gpus": gpus}
        self.devices, self.threads = devices, threads

    def __str__(self) -> str:
        cpus, gpus = self.resources["CPU"], self.resources["GPU"]
        return f"{cpus:g} CPU(s)" + (f" and {gpus:g} GPU(s)" if gpus else "")


class _RayTasks:
    """Works each stage as a task of Ray."""

    def __init__(self, ray: Any, options: RayCluster.Options, needs: _Needs, request: RunRequest, *, own: bool) -> None:
        self._ray, self._options, self._needs, self._request, self._own = ray, options, needs, request, own
        self._work = ray.remote(work).options(max_retries=options.retries, retry_exceptions=False, **needs.options)
        self._reports = ray.remote(Reports).options(num_cpus=0, max_restarts=-1).remote()
        self._asked = self._reports.take.remote()
        self._images: dict[DatasetSpec, Any] = {}
        self._running: dict[Any, Future[Warnings]] = {}
        self._counted = (0.0, 0)
        self._sharing = _sharing(ray, needs)

    @property
    def capacity(self) -> int:
        """Stages there is room for now, at least one; the cluster may grow and shrink."""
        most = self._request.workers or self._options.most_stages
        if most is not None:
            return most
        then, count = self._counted
        if time.monotonic() - then >= SECONDS_BETWEEN_COUNTS:
            nodes = _alive(self._ray)
            count = max(1, sum(slots(node["Resources"], self._needs.resources) for node in nodes))
            self._counted = time.monotonic(), count
        return count

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Hand the stage to Ray, which starts it where there is room."""
        order = Order(
            stage=stage_to_data(stage),
            code=code_version(),
            store_url=self._request.store.url,
            devices=self._needs.devices,
            threads=self._needs.threads,
            save_every_seconds=self._request.save_every_seconds,
            sharing=self._sharing,
        )
        future: Future[Warnings] = Future()
        task = self._work.remote(order, self._shipped(stage.dataset), self._reports)
        self._running[task] = future
        task.future().add_done_callback(lambda done: self._end(task, stage, done))
        return future

    def progress(self) -> list[Progress]:
        """Return the steps reported since the last call; never waits for the cluster."""
        ready, _ = self._ray.wait([self._asked], timeout=0)
        if not ready:
            return []
        told: list[Progress] = []
        with contextlib.suppress(self._ray.exceptions.RayError):  # the actor was lost with its node, and starts again
            told = self._ray.get(self._asked)
        self._asked = self._reports.take.remote()
        return told

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

    def _end(self, task: Any, stage: Stage, done: Future[Outcome]) -> None:
        future = self._running.pop(task)
        try:
            outcome = done.result()
        except self._ray.exceptions.RayError as error:
            future.set_exception(_lost(stage, error, self._options.retries))
            return
        if outcome.error is None:
            future.set_result(outcome.warnings)
        else:
            future.set_exception(_with_log(stage, outcome))


def _sharing(ray: Any, needs: _Needs) -> Sharing:
    """With how many tasks of the run a task may share its node and its device."""
    on_node = max([slots(node["Resources"], needs.resources) for node in _alive(ray)], default=1)
    gpus = needs.resources["GPU"]
    return Sharing(max(1, on_node), max(1, int(1 / gpus) if gpus else on_node))


def _lost(stage: Stage, error: Exception, retries: int) -> WorkerLost:
    said = str(error).strip() or type(error).__name__
    return WorkerLost(
        f"{stage.label} was not made, and Ray says: {said}",
        expected=f"a worker that ends with a result, within {retries} further tries",
        way_out="look for a lack of memory on the nodes, and for ticketdiet in their environment; then run it again",
    )


def _with_log(stage: Stage, outcome: Outcome) -> TicketDietError:
    assert outcome.error is not None
    if not outcome.log:
        return outcome.error
    return WorkerLost(
        f"{stage.label} failed on a worker: {outcome.error.came}\n{outcome.log.rstrip()}",
        expected="a stage that ends, or says in a sentence why not",
        way_out="the lines above are the end of its log; run it with --executor local to see more",
    )


def _import_ray() -> Any:
    """Import Ray; it reads some of its settings only then."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return import_extra("ray", "ray", other="choose another --executor")


def _check_reachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for a minute."""
    if address in {"auto", "local"}:
        return
    scheme, _, rest = address.rpartition("://")
    host, colon, port = rest.rpartition(":")
    if scheme not in PORTS or (colon and not port.isdecimal()):
        raise UserError(
            f"Got the address {address!r} of a Ray cluster.",
            expected="auto, local, host:port, or ray://host:port",
            way_out="`ray status` on a node of the cluster shows the address of its head node",
        )
    where = (host, int(port)) if colon else (rest, PORTS[scheme])
    try:
        socket.create_connection(where, timeout=SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise UserError(
            f"Nothing answers at {where[0]}, port {where[1]}: {error.strerror or error}.",
            expected="the head node of a Ray cluster that runs",
            way_out="`ray start --head` there; for ray://host:port, its client server has to run too",
        ) from None


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address == "local":
        options |= {"num_cpus": cpu_count(), "include_dashboard": False, "_node_ip_address": LOOPBACK}
    if address.startswith("ray://"):
        options = {}
    try:
        with _own_sigterm(), _loopback_only(address == "local"):
            ray.init(address=address, **options)
    except (ImportError, ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"The Ray cluster {address!r} cannot be used: {str(error).strip().splitlines()[0]}",
            expected="a Ray cluster that runs, of the same versions of Ray and Python as here",
            way_out="`ray start --head` starts one on this machine; the option address names another",
        ) from error
    if address == "local" and any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
        ray.shutdown()
        raise UserError(
            "This version of Ray opens its ports to other machines.",
            expected="a Ray that can be kept to this machine",
            way_out="start it yourself with `ray start --head`, and give address: auto",
        )


@contextlib.contextmanager
def _loopback_only(wanted: bool) -> Iterator[None]:
    """Let Ray take this machine's address to be that of loopback: only then does it listen there alone."""
    if not wanted:
        yield
        return
    from ray._private import ray_constants

    # This process reads the constant, and the processes that Ray starts read the variable.
    name, before = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", getattr(ray_constants, "ENABLE_RAY_CLUSTER", None)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[name]


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray would replace by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _alive(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _check_nodes(ray: Any, needs: _Needs, request: RunRequest, most_stages: int | None) -> None:
    """Ask a worker on every node that can take a stage what it is, before any work."""
    nodes = [node for node in _alive(ray) if slots(node["Resources"], needs.resources)]
    if not nodes and most_stages is None:
        raise UserError(
            f"No node of the Ray cluster has {needs} for a stage.",
            expected="at least one node with as many",
            way_out="ask for less with gpus_per_stage or cpus_per_stage, or give most_stages if the cluster grows",
        )
    for report in _reports_of(ray, nodes, request.store.url):
        compare_code(worker=report.code, run=code_version(), where=report.name)
        if not report.sees_store:
            raise StoreError(
                f"The node {report.name} does not see the store {request.store.url}.",
                expected="a store that all nodes see under the same name",
                way_out="--store with a folder on a shared file system, or a bucket",
            )


def _reports_of(ray: Any, nodes: list[dict[str, Any]], store_url: str) -> list[NodeReport]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(describe_node)
    tasks = [
        ask.options(
            num_cpus=0, max_retries=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(store_url)
        for node in nodes
    ]
    try:
        found: list[NodeReport] = ray.get(tasks, timeout=SECONDS_TO_ANSWER)
    except ray.exceptions.GetTimeoutError:
        raise UserError(
            f"Not every node of the Ray cluster answered within {SECONDS_TO_ANSWER:.0f} seconds.",
            expected="nodes that can start a worker",
            way_out="`ray status` shows the nodes and what they are busy with",
        ) from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"A worker of the Ray cluster cannot be used: {str(error).strip().splitlines()[-1]}",
            expected="the same version of ticketdiet in the Python environment of every node",
            way_out="install it there, or start the nodes in an environment on a shared file system",
        ) from error
    return found
