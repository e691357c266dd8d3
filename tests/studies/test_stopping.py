"""A process that is told to end saves the state of its training first, and never between two halves of a step."""

import os
import signal
import threading
from concurrent.futures import Future
from typing import Any

import fsspec
import pytest

from ticketdiet.store.remote import Remote
from ticketdiet.store.results import ResultStore
from ticketdiet.studies import context as context_module
from ticketdiet.studies.run import RunObserver
from ticketdiet.studies.stopping import StageStopped, StopObserver, StopSignal
from ticketdiet.training.observers import ProgressObserver

SETTINGS = ("arms={none@0: {}}", "scores={}", "pruning.levels=0")


class TestStopSignal:
    def test_between_stages_it_only_counts_and_the_next_stage_is_not_begun(self):
        stop = StopSignal()
        stop(signal.SIGTERM)
        assert stop.came
        with pytest.raises(StageStopped), stop.stage():
            raise AssertionError("it was begun")

    def test_in_a_stage_it_ends_the_work_at_once(self):
        stop, seen = StopSignal(), []

        def work():
            with stop.stage():
                stop(signal.SIGTERM)
                seen.append("it went on")

        with pytest.raises(StageStopped):
            work()
        assert not seen

    def test_in_a_stage_no_call_of_a_remote_store_takes_it_for_a_failed_connection(self):
        stop, remote = StopSignal(), Remote(fsspec.filesystem("memory"))
        with pytest.raises(StageStopped), stop.stage():
            remote.attempt(lambda: stop(signal.SIGTERM))

    def test_in_a_training_it_waits_for_the_next_step_or_the_end(self):
        stop, seen = StopSignal(), []

        def work():
            with stop.stage(), stop.training():
                stop(signal.SIGTERM)
                seen.append("the step went on")

        with pytest.raises(StageStopped):
            work()
        assert seen
        assert stop.number == signal.SIGTERM

    def test_signals_are_taken_only_inside_the_block_and_only_in_the_main_thread(self):
        stop, before = StopSignal(), signal.getsignal(signal.SIGUSR1)
        with stop.handling(signal.SIGUSR1):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.number == signal.SIGUSR1
        assert signal.getsignal(signal.SIGUSR1) is before
        taken = []

        def elsewhere():
            with StopSignal().handling(signal.SIGUSR1):
                taken.append(signal.getsignal(signal.SIGUSR1))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert taken == [before]


def test_the_observer_saves_what_it_leaves_and_says_how_many_steps_were_done():
    stop, saved = StopSignal(), []
    observer: Any = StopObserver(stop, saved.append)
    for step in (7, 8, 9):
        observer.before_step(step, None, lambda: "the state")
    stop(signal.SIGTERM)
    with pytest.raises(StageStopped) as stopped:
        observer.before_step(10, None, lambda: "the state")
    assert (saved, stopped.value.steps) == (["the state"], 3)


def terminating(at_step):
    class Terminates(ProgressObserver):
        def before_step(self, step, model, capture):
            if step == at_step:
                os.kill(os.getpid(), signal.SIGTERM)

    return Terminates


@pytest.fixture
def like_the_command_line():
    """SIGTERM counts as Ctrl-C, as in a command."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_run_in_one_process_saves_its_state_when_it_is_terminated(
    plan_tiny, store, tmp_path, run_tiny, contents, monkeypatch, like_the_command_line
):
    plan = plan_tiny(*SETTINGS)
    monkeypatch.setattr(context_module, "ProgressObserver", terminating(at_step=5))
    with pytest.raises(KeyboardInterrupt):
        run_tiny(plan, store, save_every_seconds=1e9)
    (level,) = [stage for stage in plan.stages.values() if stage.kind == "level"]
    assert store.load_partial(level.address).document == {"step": 5}
    monkeypatch.undo()
    run_tiny(plan, store)
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    assert contents(store, plan) == contents(alone, plan)


class InterruptsOnceItTrains(RunObserver):
    def progressed(self, stage, step):
        if step > 0:
            raise KeyboardInterrupt


def test_worker_processes_save_their_state_when_the_run_is_stopped(plan_tiny, store, run_tiny):
    plan = plan_tiny(*SETTINGS, "training.steps=100000")
    with pytest.raises(KeyboardInterrupt):
        run_tiny(plan, store, workers=2, save_every_seconds=1e9, observer=InterruptsOnceItTrains())
    (level,) = [stage for stage in plan.stages.values() if stage.kind == "level"]
    assert store.load_partial(level.address).document["step"] > 0
    assert store._place.children("leases") == []


class WorkerToldToEnd:
    """An executor whose worker alone was told to end, as when its whole group of processes is."""

    capacity = 1

    def submit(self, stage):
        future: Future[tuple[str, ...]] = Future()
        future.set_exception(StageStopped())
        return future

    def progress(self):
        return []

    def close(self, *, now=False):
        pass


def test_a_worker_that_was_told_to_end_stops_the_run_and_is_no_failure(plan_tiny, store, run_tiny):
    with pytest.raises(KeyboardInterrupt):
        run_tiny(plan_tiny(*SETTINGS), store, executor=WorkerToldToEnd())
    assert store.failed.read() == {}
