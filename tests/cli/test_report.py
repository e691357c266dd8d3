"""``ticketdiet report`` as a user meets it."""

import signal
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.record import record_plan


@pytest.fixture(scope="module")
def store(tmp_path_factory, plan_tiny, run_tiny):
    """A store of the study, one arm of which was not run."""
    url = tmp_path_factory.mktemp("report") / "store"
    found, plan = ResultStore.open(url), plan_tiny()
    run_tiny(plan.only(["none@0", "all@4"]), found)
    record_plan(found, plan)
    return url


def call(store, *arguments):
    return CliRunner().invoke(app, ["report", *arguments, "--store", str(store)])


def test_a_page_is_written_and_what_is_left_out_is_said(store, tmp_path):
    found = call(store, "tiny", "--out", str(tmp_path / "page"))
    assert found.exit_code == 0
    assert f"page:    {tmp_path / 'page' / 'index.html'}" in found.stdout
    assert "results are left out because they are missing" in found.stderr
    assert (tmp_path / "page" / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_strict_ends_with_1_when_something_is_missing(store, tmp_path):
    assert call(store, "tiny", "--out", str(tmp_path), "--strict").exit_code == 1


def test_only_the_arms_that_were_asked_for_are_shown(store, tmp_path):
    found = call(store, "tiny", "--out", str(tmp_path), "--limit-arms", "none@0,all@4", "--strict")
    assert found.exit_code == 0
    assert "easiest32@4" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "ticketdiet", "report", *arguments], capture_output=True, text=True, **options
    )


def test_mistakes_end_with_2_and_the_way_out(store, tmp_path):
    unknown = run("tiny", "--store", str(store), "--out", str(tmp_path), "--baseline", "every@4")
    assert unknown.returncode == 2
    assert "one of: all@4, easiest32@4, none@0" in unknown.stderr
    twice = run("tiny", "tiny", "--store", str(store), "--out", str(tmp_path))
    assert twice.returncode == 2
    assert "name every study once" in twice.stderr
    (tmp_path / "file").write_text("")
    blocked = run("tiny", "--store", str(store), "--out", str(tmp_path / "file"))
    assert blocked.returncode == 2
    assert "cannot be written" in blocked.stderr


def heed_ctrl_c():
    """What starts tests in the background may have told them to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_live_page_is_served_until_ctrl_c(store):
    command = [sys.executable, "-u", "-m", "ticketdiet", "report", "tiny", "--live", "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c) as process:
        try:
            address = process.stdout.readline().split()[1]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"What came out" in answer.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
