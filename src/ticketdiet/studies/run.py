"""Runs what is missing of a plan, in dependency order, and keeps results as they come.

Several runs on one store share the work: each takes a lease on a stage before it starts it, does other stages while
another run holds one, and adopts the result when it is there.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ticketdiet.core.errors import DamagedResult, StagesFailed, StoreError, TicketDietError, described
from ticketdiet.core.options import readable
from ticketdiet.store.drivers import Driver
from ticketdiet.store.failed import FailedStage
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.base import (
    ChainExecutor,
    Executor,
    ExecutorKind,
    NotBegun,
    RunRequest,
    Warnings,
    refuse_uneven,
)
from ticketdiet.studies.executors.catalog import find_executor
from ticketdiet.studies.executors.local import Local
from ticketdiet.studies.frontier import Frontier
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.record import record_plan, summarise_plan
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stopping import StageStopped

SECONDS_BETWEEN_LOOKS = 0.2
MOST_TRIES = 3  # at a stage whose inputs turn out to be damaged


class RunObserver:
    """What a run tells: override what is of interest. Called in the process that runs the study."""

    def planned(self, plan: Plan, left: Collection[str]) -> None:
        """The stages at the addresses ``left`` are to be made."""

    def set_aside(self, stage: Stage, reason: str) -> None:
        """The stored result of ``stage`` was damaged; it is made again."""

    def started(self, stage: Stage) -> None:
        """``stage`` is being worked."""

    def progressed(self, stage: Stage, step: int) -> None:
        """``stage`` has done ``step`` of its steps."""

    def finished(self, stage: Stage, warnings: tuple[str, ...]) -> None:
        """The result of ``stage`` is in the store."""

    def adopted(self, stage: Stage) -> None:
        """Another run has made ``stage`` meanwhile."""

    def waiting(self, stage: Stage, holder: str) -> None:
        """There is nothing to do until ``holder``, another run, has made ``stage``; told once per stage."""

    def failed(self, stage: Stage, error: BaseException) -> None:
        """``stage`` cannot be made; what needs it will be left."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        made: Number of stages made by this run.
        kept: Number of stages that were there already, or that other runs made meanwhile.
    """

    made: int
    kept: int


def stages_left(plan: Plan, store: ResultStore) -> dict[str, str]:
    """Addresses of the stages to be made, with what is wrong with a damaged result (empty when it is only missing)."""
    states = store.statuses(plan.stages)
    return {address: status.reason for address, status in states.items() if status.state != "done"}


def run_plan(
    plan: Plan,
    store: ResultStore,
    *,
    of: StudySpec | None = None,
    whole: Plan | None = None,
    executor: Executor | ExecutorKind | str | None = None,
    workers: int | None = None,
    workers_per_device: int | None = None,
    devices: Sequence[str] = ("cpu",),
    devices_per_stage: int | None = None,
    threads: int | None = None,
    observer: RunObserver | None = None,
    save_every_seconds: float = 30.0,
) -> RunOutcome:
    """Make every stage of ``plan`` that the store lacks, together with whatever other runs work on the same store.

    Args:
        plan: What to make.
        store: Where results are looked for and kept; the plan is recorded there too.
        of: The study that asks for this plan, when that is another than the plan's own.
        whole: The plan to record, when ``plan`` is only some of the replicates of the same study.
        executor: Where stages are worked; it is closed at the end. A name is looked up by
            :func:`~ticketdiet.studies.executors.catalog.find_executor`. Default: in this process or in a pool of
            processes, as the next five say.
        workers: Stages worked at once; on this machine by default one per core on the CPU (8 at most, no more than
            there are chains, fewer where each takes several threads), one per GPU, and one on a store in the memory of
            this process.
        workers_per_device: Stages worked at once on each device; default one per GPU.
        devices: Names of torch devices, given to the workers in turn; ``"all"`` is every GPU.
        devices_per_stage: Devices that share the batches of each stage; default one. On the CPU, so many processes.
        threads: Threads of each worker; default ``OMP_NUM_THREADS``, or else its fraction of the cores.
        observer: Is told how it goes.
        save_every_seconds: How often the state of a long training is kept.

    Returns:
        What was made and what was there.

    Raises:
        UserError: For an executor that cannot be started as asked, several workers on a store that processes cannot
            share, or a device that is not here.
        StagesFailed: When stages could not be made; all others were.
        StoreError: When the store itself fails, as with a full disk.
    """
    observer = observer or RunObserver()
    request = RunRequest(
        store=store,
        plan=plan,
        workers=workers,
        workers_per_device=workers_per_device,
        devices=tuple(devices),
        devices_per_stage=devices_per_stage,
        threads=threads,
        save_every_seconds=save_every_seconds,
        report=observer.progressed,
    )
    place = Local() if executor is None else find_executor(executor) if isinstance(executor, str) else executor
    if isinstance(place, ExecutorKind):
        place.check(request)
        refuse_uneven(plan, place.completed(request).devices_per_stage or 1)
    where = readable(type(place).__name__)
    with store.drive(plan.stages, study=(of or plan.study).study, executor=where) as driver:
        left = stages_left(plan, store)
        record_plan(store, whole or plan, of)
        observer.planned(plan, left)
        if not left:
            if not isinstance(place, ExecutorKind):
                place.close()
            summarise_plan(store, whole or plan, again=False)
            return RunOutcome(0, len(plan.stages))
        chosen = place.start(request) if isinstance(place, ExecutorKind) else place
        scheduler = _Scheduler(plan, store, driver, chosen, observer, Frontier(plan, left))
        try:
            scheduler.run()
        except BaseException:
            chosen.close(now=True)
            raise
        chosen.close()
        summarise_plan(store, whole or plan)
    return RunOutcome(len(scheduler.done), len(plan.stages) - len(scheduler.done))


@dataclass
class _Scheduler:
    """Keeps the executor busy with the most urgent stages that can begin."""

    plan: Plan
    store: ResultStore
    driver: Driver
    executor: Executor
    observer: RunObserver
    frontier: Frontier
    running: dict[Future[Warnings], Stage] = field(default_factory=dict)
    elsewhere: dict[str, float] = field(default_factory=dict)  # other runs are at these; when to look again
    done: set[str] = field(default_factory=set)
    failed: dict[str, BaseException] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)  # to be hashed before they are believed
    tries: Counter[str] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)

    def run(self) -> None:
        self._longest_chain = self.executor.longest_chain if isinstance(self.executor, ChainExecutor) else 1
        self._failed_before = set(self.store.failed.read())
        while self.frontier.waiting or self.running:
            if self._start_ready():
                continue  # what was adopted may have made other stages ready
            if self.running:
                self._await_own()
            elif held := [address for address in self.elsewhere if self.frontier.is_ready(address)]:
                self._await_others(self.plan.stages[held[0]])
            else:
                break
        if self.failed:
            raise self._failure()

    def _start_ready(self) -> bool:
        """Start what is ready while there is room; return whether results of other runs were adopted."""
        adopted, held = False, []
        while len(self.running) < self.executor.capacity and (address := self.frontier.pop()) is not None:
            if time.monotonic() >= self.elsewhere.get(address, 0.0):
                adopted |= self._start(self.plan.stages[address])
            if address in self.frontier.waiting:
                held.append(address)
        for address in held:
            self.frontier.offer(address)
        return adopted

    def _start(self, stage: Stage) -> bool:
        """Start a stage unless another run is at it; return whether its result is there already."""
        claim = self._claim(stage)
        if claim == "ours":
            self._submit([stage, *self._followers(stage)])
        return claim == "done"

    def _claim(self, stage: Stage) -> Literal["ours", "done", "elsewhere"]:
        """Take the lease of a stage; say whether it is to be made here, is there already, or is another run's."""
        address = stage.address
        if not self.driver.take(address):
            self.elsewhere[address] = time.monotonic() + self.driver.seconds_between_looks / 2
            return "elsewhere"
        self.elsewhere.pop(address, None)
        self.frontier.begin(address)
        # Under the lease: nobody else can be about to make it, or to set aside what was just made.
        status = self.store.inspect(address) if address in self.suspects else self.store.check(address)
        self.suspects.discard(address)
        if status.state == "done":
            self.driver.release(address)
            self.frontier.finish(address)
            self.observer.adopted(stage)
            return "done"
        if status.state == "damaged":
            self.observer.set_aside(stage, status.reason)
            self.store.discard(address)
        if address in self._failed_before:
            self.store.failed.remove(address)
        return "ours"

    def _followers(self, stage: Stage) -> list[Stage]:
        """Claim the chain of stages behind ``stage``, each the most urgent that needs nothing else that is missing."""
        chain = [stage]
        while len(chain) < self._longest_chain:
            following = self.frontier.following([one.address for one in chain])
            if following is None or self._claim(self.plan.stages[following]) != "ours":
                break
            chain.append(self.plan.stages[following])
        return chain[1:]

    def _submit(self, chain: Sequence[Stage]) -> None:
        for stage in chain:
            self.observer.started(stage)
        if isinstance(self.executor, ChainExecutor):
            futures = self.executor.submit_chain(chain)
        else:
            futures = [self.executor.submit(stage) for stage in chain]
        self.running.update(zip(futures, chain, strict=True))

    def _await_own(self) -> None:
        finished, _ = wait(self.running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        for address, step in self.executor.progress():
            self.observer.progressed(self.plan.stages[address], step)
        for future in finished:
            self._conclude(self.running.pop(future), future)

    def _await_others(self, stage: Stage) -> None:
        if stage.address not in self.told:
            self.told.add(stage.address)
            self.observer.waiting(stage, self.driver.holder(stage.address))
        self.driver.wait()

    def _conclude(self, stage: Stage, future: Future[Warnings]) -> None:
        error = future.exception()
        self.driver.release(stage.address)
        if error is None:
            self.done.add(stage.address)
            self.frontier.finish(stage.address)
            self.observer.finished(stage, future.result())
        elif isinstance(error, NotBegun):
            self.frontier.add([stage.address])
        elif isinstance(error, StageStopped):
            raise KeyboardInterrupt from None
        elif isinstance(error, DamagedResult) and self._queue_again(stage):
            return
        elif isinstance(error, StoreError):
            raise error
        else:
            self._record_failure(stage, error)
            if not isinstance(error, TicketDietError):
                raise error
            self.failed[stage.address] = error
            self.observer.failed(stage, error)

    def _record_failure(self, stage: Stage, error: BaseException) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(StoreError):  # it must not hide the error itself
            self.store.failed.write(FailedStage(stage.address, described(error), time))

    def _queue_again(self, stage: Stage) -> bool:
        """Queue a stage whose inputs could not be read, behind those that are damaged; False after several tries."""
        self.tries[stage.address] += 1
        # A child reads what its parent was made from, too.
        consumed = [address for address in self.plan.reached_from([stage.address]) if address != stage.address]
        bad = [address for address in consumed if self.store.inspect(address).state != "done"]
        self.suspects.update(bad)
        self.frontier.add([*bad, stage.address])
        return self.tries[stage.address] < MOST_TRIES

    def _failure(self) -> StagesFailed:
        by_message: dict[str, list[str]] = {}
        for address, error in self.failed.items():
            by_message.setdefault(str(error), []).append(self.plan.stages[address].label)
        lines = [
            f"  - {labels[0]}" + (f" and {len(labels) - 1} more" if labels[1:] else "") + f": {message}"
            for message, labels in by_message.items()
        ]
        return StagesFailed(
            f"{len(self.failed)} stage(s) failed, and {len(self.frontier.waiting)} that need them were left:\n"
            + "\n".join(lines),
            expected="every stage to finish",
            way_out="correct the study and run it again; finished stages are kept",
        )
