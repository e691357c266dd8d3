"""A job works for its own run alone, tells how each stage ended, and stops in time with its state saved."""

import json
import os
import signal

import pytest

from ticketdiet.core.errors import TrainingDiverged, UserError
from ticketdiet.studies import context as context_module
from ticketdiet.studies.executors import job as job_module
from ticketdiet.studies.executors.base import NotBegun
from ticketdiet.studies.executors.code_version import code_version, require_code
from ticketdiet.studies.executors.job import JobOrder, work_job
from ticketdiet.studies.executors.notes import Notes
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.sent_errors import WorkFailed
from ticketdiet.studies.stage_data import stage_of_data
from ticketdiet.training.observers import ProgressObserver

SETTINGS = ("arms={none@0: {}}", "scores={}")


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "notes").mkdir()
    return Notes(tmp_path / "notes")


@pytest.fixture
def order(tmp_path, store, notes):
    def make(plan):
        worker = WorkerOrder(store.url, save_every_seconds=1e9)
        return JobOrder.of_stages(list(plan.stages.values()), worker, notes=str(tmp_path / "notes"))

    return make


def test_a_job_makes_the_bits_of_a_run_here_and_tells_of_every_stage(plan_tiny, order, store, notes, alone, contents):
    plan = plan_tiny(*SETTINGS)
    assert work_job(order(plan).to_text()) is None
    assert notes.take_endings(plan.stages) == dict.fromkeys(plan.stages, ())
    assert contents(store, plan) == alone(plan)


def test_every_kind_of_stage_survives_being_sent(every_kind, order):
    sent = JobOrder.of_text(order(every_kind).to_text())
    again = [stage_of_data(data) for data in sent.stages]
    assert [stage.fields() for stage in again] == [stage.fields() for stage in every_kind.stages.values()]
    assert [stage.address for stage in again] == list(every_kind.stages)


def endings_of(text, plan, notes):
    assert work_job(text) is None
    return notes.take_endings(plan.stages)


def test_a_worker_with_other_code_is_refused_before_any_work(plan_tiny, order, notes, store):
    plan = plan_tiny(*SETTINGS)
    text = json.dumps(json.loads(order(plan).to_text()) | {"code": "9.9.9 (0123456789ab)", "new": "a field"})
    endings = endings_of(text, plan, notes)
    assert {type(error) for error in endings.values()} == {UserError}
    message = str(next(iter(endings.values())))
    assert "9.9.9 (0123456789ab)" in message
    assert code_version() in message
    assert store.addresses() == []


def test_a_stage_that_this_code_would_plan_otherwise_is_refused_before_any_work(plan_tiny, order, notes, store):
    plan = plan_tiny(*SETTINGS)
    body = json.loads(order(plan).to_text())
    body["stages"][1]["fields"]["recipe"]["lr"] = 0.5
    endings = endings_of(json.dumps(body), plan, notes)
    assert {type(error) for error in endings.values()} == {WorkFailed}
    assert store.addresses() == []


def test_what_needs_a_failed_stage_is_not_begun_and_the_rest_is_made(plan_tiny, order, notes, store):
    plan = plan_tiny("arms={none@0: {}, wild: {training: {lr: 1.0e+30}}}", "scores={}", "pruning.levels=1")
    endings = endings_of(order(plan).to_text(), plan, notes)
    kinds = {
        (stage.kind, stage.uses[0].arm, stage.uses[0].level): type(endings[stage.address])
        for stage in plan.stages.values()
    }
    assert kinds["level", "wild", 0] is TrainingDiverged
    assert kinds["level", "wild", 1] is NotBegun
    assert kinds["level", "none@0", 1] is tuple


def signalling(number, at_step):
    """Observers of progress that send this process a signal at a step, once."""
    sent = []

    class Signals(ProgressObserver):
        def before_step(self, step, model, capture):
            if step == at_step and not sent:
                sent.append(step)
                os.kill(os.getpid(), number)

    return Signals


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_saves_the_state_and_the_next_job_goes_on_to_the_bit(
    plan_tiny, order, store, notes, alone, contents, monkeypatch, number
):
    plan = plan_tiny(*SETTINGS)
    text, before = order(plan).to_text(), signal.getsignal(number)
    monkeypatch.setattr(context_module, "ProgressObserver", signalling(number, at_step=5))
    assert work_job(text) == number
    assert signal.getsignal(number) is before
    (first,) = [stage for stage in plan.stages.values() if stage.kind == "level" and stage.level == 0]
    assert store.load_partial(first.address).document == {"step": 5}
    monkeypatch.undo()
    assert work_job(text) is None
    assert contents(store, plan) == alone(plan)
    assert set(notes.take_endings(plan.stages).values()) == {()}


def test_a_time_that_is_too_short_for_one_step_is_said_and_not_tried_for_ever(
    plan_tiny, order, store, notes, monkeypatch
):
    plan = plan_tiny(*SETTINGS)
    text = order(plan).to_text()
    for _ in range(job_module.MOST_FUTILE_JOBS):  # the first gets to step 5, the others begin there
        monkeypatch.setattr(context_module, "ProgressObserver", signalling(signal.SIGUSR2, at_step=5))
        assert work_job(text) == signal.SIGUSR2
    monkeypatch.setattr(context_module, "ProgressObserver", signalling(signal.SIGUSR2, at_step=5))
    assert work_job(text) is None
    endings = notes.take_endings(plan.stages)
    said = [str(ending) for ending in endings.values() if isinstance(ending, UserError)]
    assert len(said) == 1
    assert "before they had done one step of level · none@0" in said[0]
    assert sum(isinstance(ending, NotBegun) for ending in endings.values()) == 2


def test_a_signal_ends_other_work_at_once_and_leaves_nothing_half(plan_tiny, order, store, notes, monkeypatch):
    plan, tried = plan_tiny(*SETTINGS), []

    def perform(context, stage):
        tried.append(stage.address)
        os.kill(os.getpid(), signal.SIGUSR2)
        raise AssertionError("the signal came too late")

    monkeypatch.setattr(job_module, "perform", perform)
    assert work_job(order(plan).to_text()) == signal.SIGUSR2
    assert len(tried) == 1
    assert store.addresses() == []


def test_the_version_of_the_code_changes_with_its_sources(monkeypatch, tmp_path):
    from ticketdiet.studies.executors import code_version as module

    package = tmp_path / "package"
    (package / "inner" / "__pycache__").mkdir(parents=True)
    (package / "inner" / "one.py").write_text("a = 1")
    (package / "inner" / "__pycache__" / "one.py").write_text("of no interest")
    monkeypatch.setattr("importlib.resources.files", lambda name: package)
    found = module.code_version.__wrapped__()
    (package / "inner" / "__pycache__" / "one.py").write_text("of no interest either")
    assert module.code_version.__wrapped__() == found
    (package / "inner" / "one.py").write_text("a = 2")
    assert module.code_version.__wrapped__() != found


def test_the_same_code_is_let_in():
    require_code(code_version(), "this machine")
