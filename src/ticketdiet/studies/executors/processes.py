"""Works stages in a pool of processes on this machine, one stage a process at a time."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any

from ticketdiet.studies.context import Context
from ticketdiet.studies.executors.base import Progress, Warnings, WorkerLost
from ticketdiet.studies.executors.children import drained, end_with_parent
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.sent_errors import sendable
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stopping import StopSignal
from ticketdiet.studies.work import perform


class Processes:
    """Works stages in processes of their own.

    A worker ends with its parent, however that ends. ``torch`` is started afresh in each (spawn), so that a result does
    not depend on what else this process did.

    Args:
        orders: How each process works.
    """

    def __init__(self, orders: Sequence[WorkerOrder]) -> None:
        self.capacity = len(orders)
        self._orders = [order.to_text() for order in orders]
        self._tries: Counter[str] = Counter()
        self._lock, self._closing = threading.Lock(), False
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._reports: Any = context.Queue()
        orders: Any = context.Queue()
        for order in self._orders:
            orders.put(order)
        self._pool = ProcessPoolExecutor(
            self.capacity,
            mp_context=context,
            initializer=_begin_worker,
            initargs=(orders, self._reports),
        )

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Queue the stage for the next free process; a process that is killed costs its stage another try."""
        told: Future[Warnings] = Future()
        self._try(stage, told)
        return told

    def _try(self, stage: Stage, told: Future[Warnings]) -> None:
        with self._lock:
            try:
                working = self._pool.submit(_perform, stage)
            except BrokenProcessPool:
                self._end_others()
                self._start()
                working = self._pool.submit(_perform, stage)
        working.add_done_callback(lambda done: self._conclude(stage, told, done))

    def _end_others(self) -> None:
        """Let the processes that live on save the state of their trainings, and end, while others take their place."""
        left = list((self._pool._processes or {}).values())
        threading.Thread(target=_await_end, args=(left,), daemon=True).start()

    def _conclude(self, stage: Stage, told: Future[Warnings], done: Future[Warnings]) -> None:
        if done.cancelled():
            told.cancel()
            return
        error = done.exception()
        if isinstance(error, BrokenProcessPool) and not self._closing:
            self._tries[stage.address] += 1
            if self._tries[stage.address] < MOST_TRIES:
                self._try(stage, told)
                return
            error = _lost(stage)
        if error is None:
            told.set_result(done.result())
        else:
            told.set_exception(error)

    def progress(self) -> list[Progress]:
        """Return the steps reported since the last call."""
        return drained(self._reports)

    def close(self, *, now: bool = False) -> None:
        """Wait for what runs and end; with ``now``, let the processes save the state of their trainings and end."""
        self._closing = True
        if now:
            processes = list((self._pool._processes or {}).values())
            for process in processes:
                process.terminate()
            self._pool.shutdown(wait=False, cancel_futures=True)
            _await_end(processes)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reports.close()
        self._reports.cancel_join_thread()


MOST_TRIES = 3  # of a stage whose process was killed each time, or one beside it
SECONDS_TO_SAVE = 20.0  # for a step and the state after it, when a process is told to end
_context: Context | None = None


def _begin_worker(orders: Any, reports: Any) -> None:
    global _context
    import signal

    stop = StopSignal()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    end_with_parent()
    order = WorkerOrder.of_text(orders.get())
    _context = order.begin(report=lambda stage, step: reports.put((stage.address, step)), stop=stop)


def _perform(stage: Stage) -> Warnings:
    assert _context is not None
    try:
        with _context.stop.stage():
            return perform(_context, stage)
    except Exception as error:
        raise sendable(error) from None


def _lost(stage: Stage) -> WorkerLost:
    return WorkerLost(
        f"The process that worked {stage.label} ended without a word, {MOST_TRIES} times. Something outside killed it, "
        "most often the system because memory had run out.",
        expected="processes that live as long as their stages",
        way_out="run again with fewer --workers; finished stages are kept, and trainings go on from their last state",
    )


def _await_end(processes: Sequence[Any]) -> None:
    """Wait for processes to end by themselves, for a while, and end those that do not."""
    until, running = time.monotonic() + SECONDS_TO_SAVE, {process.sentinel: process for process in processes}
    while running and (left := until - time.monotonic()) > 0:
        for sentinel in wait_for(list(running), timeout=left):
            del running[sentinel]
    for process in running.values():
        process.kill()
