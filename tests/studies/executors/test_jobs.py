"""Jobs of a queue that loses them, refuses them and forgets them: it costs time and never truth."""

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.studies.executors.base import ChainExecutor, NotBegun, WorkerLost
from ticketdiet.studies.executors.jobs import (
    LOOKS_UNTIL_LOST,
    MOST_REFUSALS,
    SECONDS_BETWEEN_NOTES,
    SECONDS_BETWEEN_QUEUES,
    JobEnding,
    JobExecutor,
    JobRefused,
)
from ticketdiet.studies.executors.notes import Notes


class Queue:
    """A queue on paper."""

    def __init__(self):
        self.jobs, self.waiting, self.cancelled, self.cleared = {}, {}, [], []
        self.refusal, self.most, self.tried = None, 1000, []
        self.silent, self.ends_as = False, JobEnding("FAILED", "it burned", "/jobs/1.out")

    def submit(self, jobs):
        self.tried.append(len(jobs))
        if self.refusal is not None and len(self.waiting) + len(jobs) > self.most:
            raise self.refusal
        names = [str(len(self.jobs) + number) for number in range(len(jobs))]
        self.jobs |= {name: [stage.address for stage in job] for name, job in zip(names, jobs, strict=True)}
        self.waiting |= dict.fromkeys(names, "")
        return names

    def look(self):
        return None if self.silent else dict(self.waiting)

    def ending(self, job):
        return self.ends_as

    def cancel(self, job=None):
        self.cancelled.append(job)

    def clear(self, *, keep_logs):
        self.cleared.append(keep_logs)


class Work:
    """An executor with its queue, its notes and a clock."""

    def __init__(self, folder, store, **options):
        self.now, self.queue, self.notes = 0.0, Queue(), Notes(folder)
        options = {"most_jobs": 10, "stages_per_job": 4, "tries": 3} | options
        self.executor = JobExecutor(self.queue, self.notes, store, clock=lambda: self.now, pause=self.pause, **options)

    def look(self, seconds=SECONDS_BETWEEN_NOTES):
        self.now += seconds
        return self.executor.progress()

    def pause(self, seconds):
        self.queue.waiting.popitem()

    def lose(self, job):
        del self.queue.waiting[job]
        for _ in range(LOOKS_UNTIL_LOST):
            self.look(SECONDS_BETWEEN_QUEUES)
        self.look()  # what is handed in again


@pytest.fixture
def work(tmp_path, store):
    (tmp_path / "notes").mkdir()
    return Work(tmp_path / "notes", store)


@pytest.fixture
def chain(plan_tiny):
    """The levels of an arm without pre-training, from its rewinding point on."""
    plan = plan_tiny()
    levels = [s for s in plan.stages.values() if s.kind == "level" and s.uses[0].arm == "none@0"]
    return [plan.stages[levels[0].inputs["point"]], *levels]


def test_a_chain_is_one_job_whose_stages_end_one_after_another(work, chain):
    assert isinstance(work.executor, ChainExecutor)
    futures = work.executor.submit_chain(chain)
    assert work.queue.jobs == {}
    work.look()
    assert list(work.queue.jobs.values()) == [[stage.address for stage in chain]]
    work.notes.done(chain[0].address, ("a warning",))
    work.notes.progressed(chain[1].address, 5)
    assert work.look() == [(chain[1].address, 5)]
    assert futures[0].result(0) == ("a warning",)
    assert [future.done() for future in futures] == [True, False, False, False]
    for stage in chain[1:]:
        work.notes.done(stage.address, ())
    work.look()
    assert all(future.done() for future in futures)
    work.executor.close()
    assert (work.queue.cancelled, work.queue.cleared) == ([], [False])


def test_notes_and_queue_are_not_looked_at_more_often_than_every_few_seconds(work, chain, monkeypatch):
    looks = []
    monkeypatch.setattr(work.queue, "look", lambda: looks.append("queue"))
    monkeypatch.setattr(work.notes, "take_endings", lambda _: looks.append("notes") or {})
    work.executor.submit_chain(chain)
    for _ in range(200):  # 40 seconds
        work.look(0.2)
    assert looks.count("notes") <= 40 / SECONDS_BETWEEN_NOTES + 1
    assert looks.count("queue") <= 40 / SECONDS_BETWEEN_QUEUES + 1


def test_what_a_lost_job_has_not_made_is_handed_in_again_and_only_that(work, chain):
    futures = work.executor.submit_chain(chain)
    work.look()
    work.notes.done(chain[0].address, ())
    work.lose("0")
    assert work.queue.jobs["1"] == [stage.address for stage in chain[1:]]
    for stage in chain[1:]:
        work.notes.done(stage.address, ())
    work.look()
    assert [future.result(0) for future in futures] == [()] * 4


def test_a_result_that_is_there_without_a_note_counts(work, chain, store, monkeypatch):
    future = work.executor.submit(chain[0])
    work.look()
    monkeypatch.setattr(store, "has", lambda address: address == chain[0].address)
    work.lose("0")
    assert future.result(0) == ()
    assert list(work.queue.jobs) == ["0"]


def test_a_job_that_is_lost_each_time_fails_with_the_end_of_its_log(work, chain):
    futures = work.executor.submit_chain(chain)
    work.look()
    for job in ("0", "1", "2"):
        work.lose(job)
    assert list(work.queue.jobs) == ["0", "1", "2"]
    with pytest.raises(WorkerLost, match=r"in the state FAILED(.|\n)*try 3(.|\n)*it burned(.|\n)*/jobs/1.out"):
        futures[0].result(0)
    for future in futures[1:]:
        with pytest.raises(NotBegun):
            future.result(0)
    work.executor.close()
    assert work.queue.cleared == [True]


def test_a_job_that_was_cancelled_by_hand_is_not_handed_in_again(work, chain):
    future = work.executor.submit(chain[0])
    work.look()
    work.queue.ends_as = JobEnding("CANCELLED", "", "/jobs/0.out", again=False)
    work.lose("0")
    assert list(work.queue.jobs) == ["0"]
    with pytest.raises(WorkerLost, match="CANCELLED"):
        future.result(0)


def test_a_job_that_the_queue_misses_once_is_not_lost(work, chain):
    work.executor.submit(chain[0])
    work.look()
    del work.queue.waiting["0"]
    work.look(SECONDS_BETWEEN_QUEUES)
    work.queue.waiting["0"] = ""
    work.look(SECONDS_BETWEEN_QUEUES)
    del work.queue.waiting["0"]
    work.look(SECONDS_BETWEEN_QUEUES)
    assert list(work.queue.jobs) == ["0"]


def test_a_queue_that_cannot_say_loses_nothing(work, chain):
    work.executor.submit(chain[0])
    work.look()
    work.queue.waiting, work.queue.silent = {}, True
    for _ in range(10):
        work.look(SECONDS_BETWEEN_QUEUES)
    assert list(work.queue.jobs) == ["0"]


def test_a_job_that_can_never_begin_is_cancelled_and_says_why(work, chain):
    future = work.executor.submit(chain[0])
    work.look()
    work.queue.waiting["0"] = "PartitionTimeLimit"
    work.look(SECONDS_BETWEEN_QUEUES)
    assert work.queue.cancelled == ["0"]
    with pytest.raises(UserError, match=r"never begin: PartitionTimeLimit(.|\n)*executors.yaml"):
        future.result(0)


def refuse(work, most, *, passes):
    work.queue.refusal, work.queue.most = JobRefused("too many, or too large", passes=passes), most


def test_a_full_queue_is_asked_again_later(work, chain):
    refuse(work, 0, passes=True)
    work.executor.submit_chain(chain)
    work.look()
    refuse(work, 1, passes=True)
    work.look()
    assert work.queue.jobs == {}
    work.look(SECONDS_BETWEEN_QUEUES)
    assert len(work.queue.jobs) == 1


def test_a_full_queue_is_waited_for_as_long_as_it_takes(work, chain):
    refuse(work, 0, passes=True)
    future = work.executor.submit_chain(chain)[0]
    for _ in range(10 * MOST_REFUSALS):
        work.look(SECONDS_BETWEEN_QUEUES)
    assert not future.done()


def test_jobs_that_are_refused_for_what_may_be_for_ever_are_given_up_after_some_tries(work, chain):
    refuse(work, 0, passes=False)
    work.executor.submit_chain(chain)
    for _ in range(MOST_REFUSALS - 1):
        work.look(SECONDS_BETWEEN_QUEUES)
    with pytest.raises(UserError, match=rf"{MOST_REFUSALS} times(.|\n)*too many, or too large(.|\n)*sacctmgr"):
        work.look(SECONDS_BETWEEN_QUEUES)
    assert len(work.queue.tried) == MOST_REFUSALS


def test_a_limit_below_the_size_of_an_array_is_met_by_smaller_ones(tmp_path, store, plan_tiny):
    work = Work(tmp_path, store, most_jobs=10, stages_per_job=1)
    refuse(work, 2, passes=False)
    for stage in list(plan_tiny().stages.values())[:8]:
        work.executor.submit(stage)
    for _ in range(3):
        work.look(SECONDS_BETWEEN_QUEUES)
    assert work.queue.tried == [8, 4, 2]
    assert len(work.queue.jobs) == 2
    for _ in range(3 * MOST_REFUSALS):  # no reason to give up, while jobs that were taken are in the queue
        work.look(SECONDS_BETWEEN_QUEUES)
    assert len(work.queue.jobs) == 2


def test_jobs_are_no_longer_after_a_refusal_than_without_one(tmp_path, store, plan_tiny):
    """A queue that is busy for some minutes must not put the whole study into one job."""
    packed = []
    for refusals in (0, 4):
        (notes := tmp_path / f"{refusals} refusals").mkdir()
        work = Work(notes, store, most_jobs=10, stages_per_job=100)
        refuse(work, 0, passes=True)
        for stage in list(plan_tiny().stages.values())[:8]:
            work.executor.submit(stage)
        for _ in range(refusals):
            work.look(SECONDS_BETWEEN_QUEUES)
        work.queue.refusal = None
        for _ in range(5):
            work.look(SECONDS_BETWEEN_QUEUES)
        packed.append(sorted(map(sorted, work.queue.jobs.values())))
    assert len(packed[0]) > 1
    assert packed[1] == packed[0]


def test_a_run_gives_up_only_after_it_has_tried_with_a_single_job(tmp_path, store, plan_tiny):
    work = Work(tmp_path, store, most_jobs=10, stages_per_job=1)
    refuse(work, 0, passes=False)
    for stage in list(plan_tiny().stages.values())[:8]:
        work.executor.submit(stage)
    for _ in range(3 + MOST_REFUSALS - 1):
        work.look(SECONDS_BETWEEN_QUEUES)
    with pytest.raises(UserError, match=r"refused a single job(.|\n)*once those have ended"):
        work.look(SECONDS_BETWEEN_QUEUES)
    assert work.queue.tried == [8, 4, 2, *[1] * MOST_REFUSALS]


def test_no_more_jobs_are_in_the_queue_than_allowed(tmp_path, store, plan_tiny):
    work = Work(tmp_path, store, most_jobs=2, stages_per_job=1)
    stages = list(plan_tiny().stages.values())[:5]
    for stage in stages:
        work.executor.submit(stage)
    work.look()
    work.look()
    assert len(work.queue.jobs) == 2
    (done,) = work.queue.jobs["0"]
    work.notes.done(done, ())
    work.look()
    work.look()
    assert len(work.queue.jobs) == 3


def test_an_end_in_the_middle_cancels_the_jobs_and_leaves_them_their_folder(work, chain):
    work.executor.submit_chain(chain)
    work.look()
    work.executor.close(now=True)
    assert (work.queue.cancelled, work.queue.cleared) == ([None], [])


@pytest.mark.parametrize(("silent", "cleared"), [(False, [True]), (True, [])])
def test_an_end_in_the_middle_leaves_only_logs_once_no_job_goes_on(work, chain, silent, cleared):
    work.executor.submit_chain(chain)
    work.look()
    work.queue.waiting.clear()
    work.queue.silent = silent
    work.executor.close(now=True)
    assert work.queue.cleared == cleared
