"""A copy of a study can be read where the store it came from is not."""

import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import UnknownName
from ticketdiet.reports.loading import load_study
from ticketdiet.reports.store_copy import copy_store
from ticketdiet.store.results import ResultStore


@pytest.fixture(scope="module")
def store(plan_tiny, run_tiny, tmp_path_factory):
    """A store with two studies."""
    opened = ResultStore.open(tmp_path_factory.mktemp("copied") / "runs")
    run_tiny(plan_tiny(), opened)
    run_tiny(plan_tiny("study=other", "arms={none@0: {}}", "seed=9"), opened)
    return opened


def test_a_study_is_copied_with_its_record(store, tmp_path):
    target = ResultStore.open(tmp_path / "copy")
    copied = copy_store(store, target, "tiny")
    assert set(copied.results) == set(load_study("tiny", store=store.url).plan.stages)
    rows, original = (load_study("tiny", store=where.url).rows() for where in (target, store))
    assert rows.equals(original)
    assert [name for name, _ in target.records.list()] == ["tiny"]


def test_everything_is_copied_and_the_study_that_was_run_last_stays_so(store, tmp_path):
    target = ResultStore.open(tmp_path / "copy")
    copy_store(store, target)
    assert target.addresses() == store.addresses()
    assert {name for name, _ in target.records.list()} == {"tiny", "other"}


def test_a_study_that_was_not_run_is_the_users_mistake(store, tmp_path):
    with pytest.raises(UnknownName, match=r"'tny'(.|\n)*did you mean 'tiny'"):
        copy_store(store, ResultStore.open(tmp_path), "tny")


def test_the_command_says_what_it_did_and_does_it_once(store, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["store", "copy", store.url, str(tmp_path / "copy"), *arguments])

    first = run("--study", "other")
    assert first.exit_code == 0, first.output
    count = len(load_study("other", store=store.url).plan.stages)
    assert first.stdout.startswith(f"{count} results copied (")
    assert f"0 results copied (0 bytes), {count} were there, 0 left out" in run("--study", "other").stdout


def test_the_command_names_what_is_damaged(store, tmp_path):
    source = ResultStore.open(tmp_path / "source")
    copy_store(store, source)
    victim = next((tmp_path / "source" / "results").rglob("rows.json"))
    victim.write_bytes(b"[]")
    result = CliRunner().invoke(app, ["store", "copy", source.url, str(tmp_path / "copy")])
    assert result.exit_code == 1
    assert f"damaged: {victim.parent.name}: rows.json" in result.stdout
    assert "copy again" in result.stderr
