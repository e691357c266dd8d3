"""A study on an object store: the same numbers as in a folder, and few requests to look at it."""

import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.reports.loading import load_study
from ticketdiet.reports.store_copy import copy_store
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.run import stages_left

URL = "s3://bucket/runs"
# Two listings of the results by first digit, the record, the summary and the store's file, with some of each to spare.
A_LOOK = 2 * 16 + 14


@pytest.fixture(scope="module")
def plan(plan_tiny):
    return plan_tiny("replicates=3")


@pytest.fixture(scope="module")
def local(plan, run_tiny, tmp_path_factory):
    """The study in a folder."""
    store = ResultStore.open(tmp_path_factory.mktemp("local") / "runs")
    run_tiny(plan, store)
    return store


@pytest.fixture
def remote(s3, local):
    """The study in a bucket."""
    copy_store(local, ResultStore.open(URL))
    s3.asked.clear()
    return s3


def test_a_run_in_a_bucket_gives_the_results_of_a_run_in_a_folder(s3, plan_tiny, run_tiny, tmp_path):
    plan = plan_tiny("arms={all@4: {pretrain: {steps: 4}}}")
    local, remote = ResultStore.open(tmp_path / "runs"), ResultStore.open(URL)
    for store in (local, remote):
        assert run_tiny(plan, store).made == len(plan.stages)
    files = [{name: r.sha256 for name, r in s.manifest(a).files.items()} for s in (local, remote) for a in plan.stages]
    assert files[: len(plan.stages)] == files[len(plan.stages) :]
    assert stages_left(plan, ResultStore.open(URL, create=False)) == {}
    assert run_tiny(plan, remote).made == 0


@pytest.mark.parametrize("command", ["results", "plan", "status"])
def test_a_finished_study_is_looked_at_with_requests_that_do_not_grow_with_its_stages(
    command, remote, plan, tiny_file, tmp_path, monkeypatch
):
    study = str(tiny_file(tmp_path, "replicates=3"))
    monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path / "another machine"))
    result = CliRunner().invoke(app, [command, study, "--store", URL])
    assert result.exit_code == 0, result.output
    assert len(plan.stages) > 30
    assert remote.asked.total() <= A_LOOK


def test_the_rows_are_those_of_the_folder(remote, local):
    rows, original = (load_study("tiny", store=url).rows() for url in (URL, local.url))
    assert rows.equals(original)
