"""How a study stands, in every state that a store can be in."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.cli.status import watched
from ticketdiet.core.errors import StagesFailed
from ticketdiet.reports.loading import load_study
from ticketdiet.reports.reading import read_rows
from ticketdiet.reports.status import ArmCurve, CurvePoint, StageProblem, StatusReader
from ticketdiet.reports.status_text import headline, pace_line, since_text, sparkline
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.work import perform

PART = ("arms={all@4: {pretrain: {steps: 4}}}",)
DIVERGING = "arms.all@4.training={lr: 1.0e+30, precision: float32}"


@pytest.fixture(scope="module")
def plan(plan_tiny):
    return plan_tiny()


@pytest.fixture(scope="module")
def part(tmp_path_factory, plan_tiny, run_tiny):
    """A store with one arm of the study."""
    folder = tmp_path_factory.mktemp("part") / "store"
    run_tiny(plan_tiny(*PART), ResultStore.open(folder))
    return folder


@pytest.fixture
def store(part, tmp_path):
    shutil.copytree(part, tmp_path / "store")
    return ResultStore.open(tmp_path / "store")


def read(plan, store):
    return StatusReader(plan, "runs").read(store)


def counts(status):
    return status.done, len(status.running), len(status.failed), len(status.damaged), status.left


def of_kind(plan, kind, arm):
    return [a for a, stage in plan.stages.items() if stage.kind == kind and stage.uses[0].arm == arm]


def test_without_a_store_or_with_an_empty_one_everything_is_left(plan, tmp_path):
    for store in (None, ResultStore.open(tmp_path / "empty")):
        status = read(plan, store)
        assert counts(status) == (0, 0, 0, 0, len(plan.stages))
        assert (status.pace, status.seconds_left, status.is_complete) == (None, None, False)
        assert headline(status) == f"tiny on runs: 0 of {len(plan.stages)} stages done, {len(plan.stages)} left"
        assert pace_line(status) == ""


def test_a_part_that_is_done_says_how_long_the_rest_takes(plan, store):
    status = read(plan, store)
    done = sum(store.has(address) for address in plan.stages)
    assert counts(status) == (done, 0, 0, 0, len(plan.stages) - done)
    assert status.seconds_left > 0
    assert status.pace.stages_per_hour > 0
    assert "left with" in pace_line(status)


def test_curves_are_the_test_accuracies_of_the_tidy_rows(plan, store):
    curves = {curve.arm: curve.points for curve in read(plan, store).curves}
    assert list(curves) == list(plan.study.arms)
    rows = read_rows(plan, store)
    expected = rows[(rows.kind == "level") & (rows.metric == "accuracy") & (rows.split == "test")]
    assert [point.accuracy for point in curves["all@4"]] == pytest.approx(list(expected["value"]))
    assert [point.density for point in curves["all@4"]] == pytest.approx(list(expected["density"]))
    assert [(point.level, point.replicates) for point in curves["none@0"]] == [(0, 0), (1, 0), (2, 0)]
    assert all(math.isnan(point.accuracy) for point in curves["none@0"])


def test_a_running_stage_has_its_driver_and_the_steps_of_its_saved_state(plan, store):
    address = of_kind(plan, "level", "easiest32@4")[0]
    store.save_partial(address, {"step": torch.tensor(10)}, {"step": 10})
    before = read(plan, store)
    with store.drive(plan.stages) as driver:
        driver.take(address)
        status = read(plan, store)
    (running,) = status.running
    assert running.address == address
    assert running.driver.startswith("process ")
    assert (running.step, running.steps) == (6, 8)  # from the rewinding point, at step 4, to step 12
    assert status.left == before.left - 1
    assert status.seconds_left < before.seconds_left
    assert "1 running" in headline(status)


def test_a_failed_stage_is_shown_until_it_is_tried_again(plan_tiny, store, run_tiny):
    plan = plan_tiny(DIVERGING)
    with pytest.raises(StagesFailed):
        run_tiny(plan, store)
    status = read(plan, store)
    (failed,) = status.failed
    assert failed.label.startswith("pretrain · all@4")
    assert "finite" in failed.message
    assert len(plan.stages) == status.done + 1 + status.left
    with store.drive(plan.stages) as driver:
        driver.take(failed.address)
        again = read(plan, store)
    assert (len(again.running), len(again.failed)) == (1, 0)


def test_a_stage_that_is_made_at_the_second_try_leaves_no_failure(plan_tiny, store, run_tiny, monkeypatch):
    plan, tries = plan_tiny(), []

    def fail_first(context, stage):
        tries.append(stage.address)
        if len(tries) == 1:
            raise RuntimeError("a wire came loose")
        return perform(context, stage)

    monkeypatch.setattr("ticketdiet.studies.executors.in_process.perform", fail_first)
    with pytest.raises(RuntimeError, match="a wire"):
        run_tiny(plan, store)
    assert store.failed.read()[tries[0]].message == "RuntimeError: a wire came loose"
    run_tiny(plan, store)
    assert store.failed.read() == {}
    status = read(plan, store)
    assert status.is_complete
    assert (counts(status), status.seconds_left) == ((len(plan.stages), 0, 0, 0, 0), 0.0)
    assert pace_line(status) == ""


def test_a_damaged_result_is_named(plan, store):
    address = of_kind(plan, "level", "all@4")[0]
    Path(store.url, "results", address[:2], address, "rows.json").unlink()
    status = read(plan, store)
    assert status.damaged == (StageProblem(plan.stages[address].label, address, "rows.json is missing"),)


def test_what_was_seen_once_is_not_read_again(plan, store, monkeypatch):
    reader = StatusReader(plan, "runs")
    done = reader.read(store).done
    asked = []
    monkeypatch.setattr(ResultStore, "manifest", lambda self, address: asked.append(address))
    assert reader.read(store).done == done
    assert asked == []


def test_a_notebook_shows_tables_in_which_everything_is_escaped(plan, store):
    problem = StageProblem("<script>", "0" * 24, "a & b")
    curve = ArmCurve("<b>arm</b>", (CurvePoint(0, 1.0, 0.5, 2), CurvePoint(1, math.nan, math.nan, 0)))
    html = replace(read(plan, store), study="<i>x", failed=(problem,), curves=(curve,))._repr_html_()
    for text in ("<script>", "<b>", "<i>"):
        assert text not in html
    for text in ("&lt;script&gt;", "a &amp; b", "&lt;b&gt;arm&lt;/b&gt;", "<td>▄·</td>", "<td>2 ·</td>"):
        assert text in html


def test_a_study_gives_its_status_before_there_is_a_store(tmp_path, tiny_file):
    status = load_study(tiny_file(tmp_path), store=tmp_path / "nowhere").status()
    assert (status.done, status.store) == (0, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([math.nan, 0.124, 0.126], "·▁▂"),
        ([-1.0, 2.0], "▁█"),
        ([], ""),
    ],
)
def test_a_sparkline_has_eight_heights(values, drawn):
    assert sparkline(values, 0.0, 1.0) == drawn


def test_equal_values_have_a_middle_height_and_times_are_in_words():
    assert sparkline([0.3, 0.3], 0.3, 0.3) == "▄▄"
    assert [since_text(since, 1000.0) for since in (None, 950.0, 700.0)] == ["", "less than a minute", "5 min"]


class TestCommand:
    @pytest.fixture
    def command(self, tmp_path, tiny_file):
        study = str(tiny_file(tmp_path))

        def run(*arguments):
            return CliRunner().invoke(app, ["status", study, *map(str, arguments)])

        return run

    def test_it_prints_what_is_done_and_the_curves(self, command, plan, store):
        shown = command("--store", store.url)
        assert shown.exit_code == 0, shown.output
        assert f"of {len(plan.stages)} stages done" in shown.stdout
        assert re.search(r"images per second; about \d+ \w+.* left with", shown.stdout)
        assert "none@0" in shown.stdout
        assert "···" in shown.stdout

    def test_json_is_the_whole_status(self, command, plan, store):
        document = json.loads(command("--store", store.url, "--format", "json").stdout)
        assert document["stages"] == len(plan.stages)
        assert document["curves"][0]["points"][0] == {"level": 0, "density": None, "accuracy": None, "replicates": 0}
        assert document["is_complete"] is False

    def test_watching_a_complete_study_prints_once_and_ends(self, command, store):
        settings = [word for setting in PART for word in ("--set", setting)]
        shown = command("--store", store.url, *settings, "--watch")
        assert shown.exit_code == 0
        assert shown.stdout.count("stages done") == 1

    def test_ctrl_c_is_the_way_to_end_watching(self, command, store, monkeypatch):
        def interrupt(seconds):
            assert seconds == 7.0
            raise KeyboardInterrupt

        monkeypatch.setattr("ticketdiet.cli.status.time.sleep", interrupt)
        assert command("--store", store.url, "--watch", "--interval", "7").exit_code == 0


def test_watching_goes_on_until_complete_and_knows_what_is_news(plan, plan_tiny, store, tmp_path):
    reader, rest = StatusReader(plan_tiny(*PART), "runs"), ResultStore.open(tmp_path / "rest")
    turns = iter([None, rest, rest, store])
    pauses = []
    looks = list(watched((reader.read(one) for one in turns), lambda: pauses.append(1)))
    assert [look.is_news for look in looks] == [True, False, False, True]
    assert looks[-1].status.is_complete
    assert len(pauses) == 3
