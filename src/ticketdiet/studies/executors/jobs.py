"""Works stages in jobs of a queue elsewhere: packs them, hands them in, and listens for how they end.

The queue itself is behind :class:`JobQueue`. What a job has made is in the store, and how its stages ended is in the
notes of the run, so that a job which is lost costs time and nothing else: what it has not made is handed in again, a
few times.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from ticketdiet.core.errors import UserError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.base import Ending, NotBegun, Progress, Warnings, WorkerLost
from ticketdiet.studies.executors.notes import Notes
from ticketdiet.studies.executors.packing import Chain, pack, work_of
from ticketdiet.studies.stage import Stage

SECONDS_BETWEEN_NOTES = 3.0  # between two looks at the notes
SECONDS_BETWEEN_QUEUES = 20.0  # between two questions to the queue
SECONDS_TO_EXIT = 15  # of a job whose stages have all ended
LOOKS_UNTIL_LOST = 2  # at the queue without a job, as a queue may miss one that begins again
MOST_REFUSALS = 15  # of a single job, one after another, for what may never pass


class JobRefused(Exception):
    """The queue takes no more jobs now; it may later.

    Args:
        said: What the queue says.
        passes: Whether it is known to pass, as when there are too many jobs; otherwise it may be for ever.
    """

    def __init__(self, said: str, *, passes: bool) -> None:
        super().__init__(said)
        self.passes = passes


@dataclass(frozen=True)
class JobEnding:
    """What is known of a job that is no longer in the queue.

    Attributes:
        state: In the words of the queue; empty when it does not know.
        log: The end of its log.
        path: Where the whole log is.
        again: Whether it is worth another try.
    """

    state: str
    log: str
    path: str
    again: bool = True


class JobQueue(Protocol):
    """A queue of jobs elsewhere. The jobs of one run are told apart from all others."""

    def submit(self, jobs: Sequence[Sequence[Stage]]) -> list[str]:
        """Hand in jobs, each of stages to work in order, and return their names.

        Raises:
            JobRefused: When there are too many jobs at the moment, or may be.
            UserError: When the queue will never take them.
        """
        ...

    def look(self) -> Mapping[str, str] | None:
        """Return the jobs that wait or run, with why they can never begin (empty for most); None when it cannot say."""
        ...

    def ending(self, job: str) -> JobEnding:
        """Describe a job that has left the queue."""
        ...

    def cancel(self, job: str | None = None) -> None:
        """Cancel a job, or all jobs of the run."""
        ...

    def clear(self, *, keep_logs: bool) -> None:
        """Remove the files of the run, once nothing of it is in the queue."""
        ...


class JobExecutor:
    """Works stages in jobs of a queue; see ``ChainExecutor``.

    Args:
        queue: Takes the jobs.
        notes: Tells how they go.
        store: Where the results are.
        most_jobs: Jobs in the queue at once, waiting ones included.
        stages_per_job: Most stages of a job.
        tries: How often a stage is handed in, if its job is lost each time.
        clock: Function that returns a monotonic time in seconds.
        pause: Function that waits a number of seconds.
    """

    def __init__(
        self,
        queue: JobQueue,
        notes: Notes,
        store: ResultStore,
        *,
        most_jobs: int,
        stages_per_job: int,
        tries: int,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        self._queue, self._notes, self._store, self._clock = queue, notes, store, clock
        self._most_jobs, self._stages_per_job, self._tries = most_jobs, stages_per_job, tries
        self.capacity, self.longest_chain = most_jobs * stages_per_job, stages_per_job
        self._unsent: list[Chain] = []
        self._futures: dict[str, Future[Warnings]] = {}
        self._jobs: dict[str, list[Stage]] = {}  # those in the queue, with the stages that have not ended
        self._missed: Counter[str] = Counter()  # looks at the queue without the job
        self._lost: Counter[str] = Counter()  # jobs that were lost, by stage
        self._longest = 0.0
        self._at_once = most_jobs  # jobs handed in together; a limit refuses all of them
        self._refusals = 0
        self._next_notes = self._next_queue = self._next_submission = float("-inf")
        self._failed = False

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Take a stage that goes into a job of its own, or with others."""
        return self.submit_chain([stage])[0]

    def submit_chain(self, stages: Sequence[Stage]) -> list[Future[Warnings]]:
        """Take stages that go into one job; the job is handed in at the next look at the progress."""
        futures: list[Future[Warnings]] = [Future() for _ in stages]
        self._futures |= {stage.address: future for stage, future in zip(stages, futures, strict=True)}
        self._unsent.append(tuple(stages))
        return futures

    def progress(self) -> list[Progress]:
        """Hand in what is ready, look at notes and queue if it is time, and return the steps that were told."""
        now = self._clock()
        if self._unsent and now >= self._next_submission:
            self._hand_in(now)
        if now < self._next_notes:
            return []
        self._next_notes = now + SECONDS_BETWEEN_NOTES
        self._listen()
        if now >= self._next_queue:
            self._next_queue = now + SECONDS_BETWEEN_QUEUES
            self._look_at_queue()
        return self._notes.steps(self._futures)

    def close(self, *, now: bool = False) -> None:
        """End; jobs that go on are cancelled, and save the state of their trainings."""
        if self._futures:
            self._queue.cancel()
            left = self._queue.look()
            if left is not None and not left:  # a job that goes on writes notes, and may be cancelled later
                self._queue.clear(keep_logs=True)
            return
        self._await_exits()
        self._queue.clear(keep_logs=self._failed)

    def _await_exits(self) -> None:
        """Give jobs that have told of their last stage the time to end, as their logs are in the folder."""
        for _ in range(SECONDS_TO_EXIT):
            if not self._queue.look():
                return
            self._pause(1.0)

    def _hand_in(self, now: float) -> None:
        room = self._most_jobs - len(self._jobs)
        if room <= 0:
            return
        self._longest = max(self._longest, *map(work_of, self._unsent))
        packed = pack(self._unsent, longest=self._longest, most_jobs=room, most_stages=self._stages_per_job)
        packed = packed[: self._at_once]  # smaller arrays, and not longer jobs, once one was refused
        jobs = [[stage for chain in chains for stage in chain] for chains in packed]
        try:
            names = self._queue.submit(jobs)
        except JobRefused as refused:
            self._next_submission = now + SECONDS_BETWEEN_QUEUES
            self._at_once = max(1, len(jobs) // 2)
            self._count_refusal(refused, len(jobs))
            return
        self._at_once, self._refusals = min(2 * self._at_once, self._most_jobs), 0
        self._jobs |= zip(names, jobs, strict=True)
        sent = {id(chain) for chains in packed for chain in chains}
        self._unsent = [chain for chain in self._unsent if id(chain) not in sent]

    def _count_refusal(self, refused: JobRefused, count: int) -> None:
        """Give up where a single job is refused again and again, for a reason that may never pass."""
        # Where jobs of this run are in the queue, it takes such jobs, and may have room again once they have ended.
        self._refusals = 0 if refused.passes or self._jobs or count > 1 else self._refusals + 1
        if self._refusals >= MOST_REFUSALS:
            raise UserError(
                f"The queue has refused a single job of this run {self._refusals} times one after another. It says: "
                f"{refused}",
                expected="an account, a partition and a quality of service that take such jobs",
                way_out="ask for less time, memory, cores or GPUs in executors.yaml, or name another account, "
                "partition or qos; `sacctmgr show assoc user=$USER` and `sacctmgr show qos` list the limits. Where "
                "other jobs of yours fill them, run it again once those have ended",
            )

    def _listen(self) -> None:
        for address, ending in self._notes.take_endings(list(self._futures)).items():
            self._end(address, ending)

    def _end(self, address: str, ending: Ending) -> None:
        future = self._futures.pop(address)
        for name, stages in list(self._jobs.items()):
            self._jobs[name] = [stage for stage in stages if stage.address != address]
            if not self._jobs[name]:
                del self._jobs[name]
        if isinstance(ending, Exception):
            self._failed |= not isinstance(ending, NotBegun)
            future.set_exception(ending)
        else:
            future.set_result(ending)

    def _look_at_queue(self) -> None:
        known = self._queue.look()
        if known is None:
            return
        for name, stages in list(self._jobs.items()):
            if reason := known.get(name):
                self._queue.cancel(name)
                self._give_up(
                    stages,
                    UserError(
                        f"The job {name} can never begin: {reason}.",
                        expected="options that the cluster can meet",
                        way_out="correct partition, account, time, memory or GPUs in executors.yaml",
                    ),
                )
            elif name in known:
                self._missed[name] = 0
            else:
                self._missed[name] += 1
                if self._missed[name] >= LOOKS_UNTIL_LOST:
                    self._recover(name)

    def _recover(self, name: str) -> None:
        """Go on after a job that has left the queue: what it told last counts, what it made counts, the rest again."""
        self._listen()
        for stage in self._jobs.get(name, ()):
            if self._store.has(stage.address):
                self._end(stage.address, ())
        stages = self._jobs.pop(name, [])
        if not stages:
            return
        ending = self._queue.ending(name)
        first = stages[0].address
        self._lost[first] += 1
        if ending.again and self._lost[first] < self._tries:
            self._unsent.append(tuple(stages))
        else:
            self._give_up(stages, _lost_error(name, ending, self._lost[first]))

    def _give_up(self, stages: Sequence[Stage], error: Exception) -> None:
        """Fail the first of some stages; the others are given back, and those that need it are left."""
        for stage, ending in zip(stages, [error, *[NotBegun()] * (len(stages) - 1)], strict=True):
            self._end(stage.address, ending)


def _lost_error(name: str, ending: JobEnding, tries: int) -> WorkerLost:
    state = f" in the state {ending.state}" if ending.state else ""
    times = f" This was try {tries}." if tries > 1 else ""
    log = f" Its log ends:\n{ending.log}" if ending.log else " It left no log."
    return WorkerLost(
        f"The job {name} ended{state} without a result.{times}{log}",
        expected="a job that ends by itself, or is stopped in time to save its state",
        way_out=f"see {ending.path}" + ("; more memory or time may help" if ending.again else ""),
    )
