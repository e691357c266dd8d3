"""The way to a Ray cluster: import Ray, connect to it, and make sure that its nodes can work for a run.

What a user has to know of a failure is said here in a sentence; Ray itself would try for minutes, or say it in many
lines.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ticketdiet.core.errors import StoreError, UserError, described, first_line
from ticketdiet.core.extras import import_extra
from ticketdiet.studies.executors.base import RunRequest
from ticketdiet.studies.executors.code_version import code_version, compare_code
from ticketdiet.studies.executors.ray_worker import NodeReport, describe_node, slots
from ticketdiet.studies.machine import cpu_count

SECONDS_TO_CONNECT = 5.0
SECONDS_TO_ANSWER = 120.0  # for a worker of each node, which imports PyTorch first
PORTS = {"ray": 10001, "": 6379}  # of Ray's client server, and of a head node
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Needs:
    """What each stage takes of a node.

    Attributes:
        cpus: CPUs.
        gpus: GPUs.
        devices: Device of each process that works the stage, as it is called there.
        threads: Threads of each of them.
    """

    cpus: float
    gpus: float
    devices: tuple[str, ...]
    threads: int

    @property
    def resources(self) -> dict[str, float]:
        """CPUs and GPUs by the names that Ray has for them."""
        return {"CPU": self.cpus, "GPU": self.gpus}

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU(s)" + (f" and {self.gpus:g} GPU(s)" if self.gpus else "")


def import_ray() -> Any:
    """Import Ray, without its usage statistics; it reads some of its settings only then.

    Returns:
        The module.

    Raises:
        UserError: When it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return import_extra("ray", "ray", other="choose another --executor")


def check_reachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for a minute.

    Raises:
        UserError: For an address that is none, or one where nothing answers.
    """
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


def connect(ray: Any, address: str) -> None:
    """Connect to the cluster at ``address``; for ``local``, start a Ray that listens on this machine alone.

    Raises:
        UserError: When there is no cluster, it cannot be used, or Ray would listen to other machines.
    """
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
            f"The Ray cluster {address!r} cannot be used: {first_line(error)}",
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
    variable = os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[name]
        os.environ |= {} if variable is None else {name: variable}


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


def alive_nodes(ray: Any) -> list[dict[str, Any]]:
    """Return what Ray says of each node that is part of the cluster now."""
    return [node for node in ray.nodes() if node["Alive"]]


def check_nodes(ray: Any, needs: Needs, request: RunRequest, most_stages: int | None) -> None:
    """Ask a worker on every node that can take a stage what it is, before any work.

    Args:
        ray: The module, connected.
        needs: What a stage takes.
        request: What the run asks for.
        most_stages: Given where the cluster grows with what waits, and may have no node yet.

    Raises:
        UserError: When no node is large enough, one does not answer, or runs other code.
        StoreError: When one does not see the store.
    """
    nodes = [node for node in alive_nodes(ray) if slots(node["Resources"], needs.resources)]
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
        raised = described(error).splitlines()[-1]  # by the worker
        raise UserError(
            f"A worker of the Ray cluster cannot be used: {raised}",
            expected="the same version of ticketdiet in the Python environment of every node",
            way_out="install it there, or start the nodes in an environment on a shared file system",
        ) from error
    return found
