"""Runs what is missing of a plan, in dependency order, and keeps results as they come."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

import torch

from ticketdiet.core.errors import DamagedResult, StagesFailed, StoreError, TicketDietError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.bench import Bench
from ticketdiet.studies.executors import Executor, InProcess, Processes
from ticketdiet.studies.machine import cpu_count, tune_allocator
from ticketdiet.studies.planner import Plan
from ticketdiet.studies.stages import Stage

MOST_WORKERS = 8
SECONDS_BETWEEN_LOOKS = 0.2


class RunObserver:
    """What a run tells: override what is of interest. Called in the process that runs the study."""

    def planned(self, plan: Plan, left: Collection[str]) -> None:
        """The stages at the addresses ``left`` are to be made."""

    def set_aside(self, stage: Stage, reason: str) -> None:
        """The stored result of ``stage`` was damaged; it is made anew."""

    def started(self, stage: Stage) -> None:
        """``stage`` is being worked."""

    def progressed(self, stage: Stage, step: int) -> None:
        """``stage`` has done ``step`` of its steps."""

    def finished(self, stage: Stage, warnings: tuple[str, ...]) -> None:
        """The result of ``stage`` is in the store."""

    def failed(self, stage: Stage, error: BaseException) -> None:
        """``stage`` cannot be made; what needs it will be left."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        made: Number of stages made now.
        kept: Number of stages that were there already.
    """

    made: int
    kept: int


def stages_left(plan: Plan, store: ResultStore) -> dict[str, str]:
    """Addresses of the stages to be made, with what is wrong with a damaged result (empty when it is only missing)."""
    states = {address: store.check(address) for address in plan.stages}
    return {address: status.reason for address, status in states.items() if status.state != "done"}


def run_plan(
    plan: Plan,
    store: ResultStore,
    *,
    workers: int | None = None,
    device: str = "cpu",
    observer: RunObserver | None = None,
    save_every_seconds: float = 30.0,
) -> Outcome:
    """Make every stage of ``plan`` that the store lacks.

    Args:
        plan: What to make.
        store: Where results are looked for and kept.
        workers: Processes; default one a core on the CPU (8 at most, no more than there are chains), one on a GPU.
        device: torch device.
        observer: Is told how it goes.
        save_every_seconds: How often the state of a long training is kept.

    Returns:
        What was made and what was there.

    Raises:
        StagesFailed: When stages could not be made; all others were.
        StoreError: When the store itself fails, as with a full disk.
    """
    observer = observer or RunObserver()
    left = stages_left(plan, store)
    observer.planned(plan, left)
    for address, reason in left.items():
        if reason:
            observer.set_aside(plan.stages[address], reason)
            store.discard(address)
    if not left:
        return Outcome(0, len(plan.stages))
    executor = _executor(plan, store, workers, device, save_every_seconds, observer)
    scheduler = _Scheduler(plan, store, executor, observer, left)
    try:
        scheduler.run()
    except BaseException:
        executor.close(now=True)
        raise
    executor.close()
    return Outcome(len(scheduler.done), len(plan.stages) - len(scheduler.done))


def default_workers(plan: Plan, device: str) -> int:
    """Processes that a plan is worth: no more than cores, chains of levels, or eight; one on a GPU."""
    chains = len(plan.study.arms) * plan.study.replicates * (1 + plan.study.children)
    return 1 if device.startswith("cuda") else max(1, min(cpu_count(), chains, MOST_WORKERS))


def threads_per_worker(workers: int) -> int:
    """Threads of each of ``workers`` processes: the cores shared out."""
    return max(1, cpu_count() // workers)


def _executor(
    plan: Plan, store: ResultStore, workers: int | None, device: str, save_every: float, observer: RunObserver
) -> Executor:
    workers = workers or default_workers(plan, device)
    threads = threads_per_worker(workers)
    if workers > 1:
        return Processes(store.url, device, workers, threads, save_every)
    torch.set_num_threads(threads)
    tune_allocator()
    report: Callable[[Stage, int], None] = observer.progressed
    return InProcess(Bench(store, device, save_every_seconds=save_every, report=report))


@dataclass
class _Scheduler:
    """Keeps the executor busy with the stage that has the longest chain of work behind it."""

    plan: Plan
    store: ResultStore
    executor: Executor
    observer: RunObserver
    waiting: dict[str, str]
    running: dict[Future[tuple[str, ...]], Stage] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, BaseException] = field(default_factory=dict)

    def run(self) -> None:
        self._behind = _work_behind(self.plan)
        while self.waiting or self.running:
            self._start_ready()
            if not self.running:
                break
            finished, _ = wait(self.running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
            for address, step in self.executor.progress():
                self.observer.progressed(self.plan.stages[address], step)
            for future in finished:
                self._conclude(self.running.pop(future), future)
        if self.failed:
            raise self._failure()

    def _start_ready(self) -> None:
        ready = [address for address in self.waiting if self._is_ready(address)]
        for address in sorted(ready, key=self._behind.__getitem__, reverse=True):
            if len(self.running) >= self.executor.capacity:
                return
            del self.waiting[address]
            stage = self.plan.stages[address]
            self.observer.started(stage)
            self.running[self.executor.submit(stage)] = stage

    def _is_ready(self, address: str) -> bool:
        undone = {*self.waiting, *self.failed, *(stage.address for stage in self.running.values())}
        return undone.isdisjoint(self.plan.stages[address].inputs.values())

    def _conclude(self, stage: Stage, future: Future[tuple[str, ...]]) -> None:
        error = future.exception()
        if error is None:
            self.done.add(stage.address)
            self.observer.finished(stage, future.result())
        elif isinstance(error, DamagedResult) and self._set_aside_inputs(stage):
            self.waiting[stage.address] = ""
        elif isinstance(error, StoreError) or not isinstance(error, TicketDietError):
            raise error
        else:
            self.failed[stage.address] = error
            self.observer.failed(stage, error)

    def _set_aside_inputs(self, stage: Stage) -> bool:
        """Queue again the inputs that turn out not to match their checksums; return whether there were any."""
        states = {address: self.store.inspect(address) for address in stage.inputs.values()}
        bad = {address: status.reason for address, status in states.items() if status.state != "done"}
        for address, reason in bad.items():
            self.observer.set_aside(self.plan.stages[address], reason)
            self.store.discard(address)
            self.waiting[address] = ""
        return bool(bad)

    def _failure(self) -> StagesFailed:
        lines = [f"  - {self.plan.stages[address].label}: {error}" for address, error in self.failed.items()]
        return StagesFailed(
            f"{len(self.failed)} stage(s) failed, and {len(self.waiting)} that need them were left:\n"
            + "\n".join(lines),
            expected="every stage to finish",
            way_out="correct the study and run it again; finished stages are kept",
        )


def _work_behind(plan: Plan) -> dict[str, int]:
    """Address -> steps of the longest chain of stages that begins there."""
    behind = {address: stage.cost.steps + 1 for address, stage in plan.stages.items()}
    for address in reversed(list(plan.stages)):
        stage = plan.stages[address]
        for needed in stage.inputs.values():
            behind[needed] = max(behind[needed], plan.stages[needed].cost.steps + 1 + behind[address])
    return behind
