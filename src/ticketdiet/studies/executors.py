"""Where stages are worked: one method, ``submit``. In this process, in a pool of processes, later on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol

import torch

from ticketdiet.core.errors import DeviceError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.context import Context
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.work import perform

Warnings = tuple[str, ...]
Progress = tuple[str, int]  # address, steps done


class Executor(Protocol):
    """Works stages somewhere.

    Attributes:
        capacity: Stages that can be worked at once.
    """

    capacity: int

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Begin ``stage``; the future gives its warnings when its result is in the store."""
        ...

    def progress(self) -> list[Progress]:
        """Return the steps reported since the last call."""
        ...

    def close(self, *, now: bool = False) -> None:
        """Wait for what runs and end; with ``now``, end at once (the store survives that)."""
        ...


class InProcess:
    """Works one stage at a time, right here; ``submit`` returns when it is done."""

    capacity = 1

    def __init__(self, context: Context) -> None:
        self._context = context

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Work the stage now."""
        future: Future[Warnings] = Future()
        try:
            future.set_result(perform(self._context, stage))
        except Exception as error:
            future.set_exception(error)
        return future

    def progress(self) -> list[Progress]:
        """Nothing: the context reports by itself."""
        return []

    def close(self, *, now: bool = False) -> None:
        """Nothing runs any more."""


class Processes:
    """Works stages in processes of their own; each takes the next of the devices, over and over.

    A worker ends with its parent, however that ends. ``torch`` is started afresh in each (spawn), so that a result does
    not depend on what else this process did.
    """

    def __init__(
        self, store_url: str, devices: Sequence[str], workers: int, threads: int, save_every_seconds: float
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.capacity = workers
        self._reports: Any = context.Queue()
        free: Any = context.Queue()
        for number in range(workers):
            free.put(devices[number % len(devices)])
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_begin_worker,
            initargs=(store_url, free, threads, save_every_seconds, self._reports, _sharing(devices, workers)),
        )

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Queue the stage for the next free process."""
        return self._pool.submit(_perform, stage)

    def progress(self) -> list[Progress]:
        """Return the steps reported since the last call."""
        reports: list[Progress] = []
        try:
            while True:
                reports.append(self._reports.get_nowait())
        except (queue.Empty, OSError, ValueError):
            return reports

    def close(self, *, now: bool = False) -> None:
        """Wait for what runs and end; with ``now``, end the processes at once."""
        if now:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reports.close()
        self._reports.cancel_join_thread()


_context: Context | None = None


def _sharing(devices: Sequence[str], workers: int) -> dict[str, Sharing]:
    """Say for each device with how many others a process that computes on it shares the machine and the device."""
    given = Counter(devices[number % len(devices)] for number in range(workers))
    return {device: Sharing(workers, on_device) for device, on_device in given.items()}


def _begin_worker(
    store_url: str,
    devices: Any,
    threads: int,
    save_every_seconds: float,
    reports: Any,
    sharing: Mapping[str, Sharing],
) -> None:
    global _context
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    tune_allocator()
    device = devices.get()
    _context = Context(
        ResultStore.open(store_url),
        device,
        save_every_seconds=save_every_seconds,
        sharing=sharing[device],
        report=lambda stage, step: reports.put((stage.address, step)),
    )


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _perform(stage: Stage) -> Warnings:
    assert _context is not None
    return perform(_context, stage)


def choose_device(asked: str) -> str:
    """Turn ``auto``, ``cpu`` or ``cuda`` (or ``cuda:1``) into a device that is here.

    Returns:
        ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: When CUDA is asked for and absent, or the name is not known.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked != "cpu" and not asked.startswith("cuda"):
        raise DeviceError(
            f"Got the unknown device {asked!r}.", expected="auto, cpu, cuda or cuda:N", way_out="--device auto"
        )
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            "CUDA was asked for, but PyTorch sees no CUDA device here.",
            expected="an NVIDIA GPU with a driver that fits this PyTorch",
            way_out="--device cpu, or check `nvidia-smi`",
        )
    return asked
