"""What a run says while it goes on, off a terminal and on one."""

import io
from types import SimpleNamespace

from rich.console import Console

from ticketdiet.core.errors import TrainingDiverged
from ticketdiet.reports import progress
from ticketdiet.reports.progress import RunView


def stage(address, steps, label="a stage"):
    return SimpleNamespace(address=address, label=label, cost=SimpleNamespace(steps=steps))


def plan_of(stages, *warnings):
    return SimpleNamespace(study=SimpleNamespace(study="tiny"), stages=stages, warnings=warnings)


def view_of(stages, **console):
    out = io.StringIO()
    view = RunView(Console(file=out, width=80, **console))
    plan = plan_of({one.address: one for one in stages})
    view.planned(plan, list(plan.stages))
    return view, out


def test_a_failed_stage_is_one_whole_line_and_nothing_is_printed_at_the_end():
    failing = stage("a", 10, label="level 3 of " + "easiest3200@100" * 6)
    with view_of([failing])[0] as view:
        view.started(failing)
        view.failed(failing, TrainingDiverged("loss is nan.", expected="a finite loss", way_out="lower the rate"))
    assert view._console.file.getvalue().splitlines()[1:] == [f"failed: {failing.label}: loss is nan."]


def test_the_time_left_is_foretold_only_when_there_is_something_to_go_by(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    small, large = stage("a", 1), stage("b", 999)
    view, out = view_of([small, large])
    for one in (small, large):
        view.started(one)
    view.progressed(large, 500)  # no stage is finished
    assert "left" not in out.getvalue()
    view, out = view_of([small, large])
    view.started(small)
    view.finished(small, ())  # one is, but it was 0.1 % of the steps
    assert "1 of 2 stages, 0 %" in out.getvalue()
    assert "left" not in out.getvalue()
    view.started(large)
    view.progressed(large, 500)
    assert out.getvalue().splitlines()[-1].startswith("1 of 2 stages, 50 %, about 0:0")


def test_a_terminal_gets_bars_with_the_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    first, second = stage("a", 50), stage("b", 50)
    with view_of([first, second], force_terminal=True)[0] as view:
        for one in (first, second):
            view.started(one)
            view.progressed(one, 25)
            view.finished(one, ())
    assert "2 of 2 stages" in view._console.file.getvalue()
    assert "about 0:00 left" in view._console.file.getvalue()


def test_the_warnings_of_a_plan_are_said_once_however_often_it_is_planned():
    view, out = view_of([])
    view.planned(plan_of({}, "short training"), [])
    view.planned(plan_of({}, "short training", "another one"), [])
    assert out.getvalue().splitlines() == ["warning: short training", "warning: another one"]
