"""``ticketdiet paper`` as a user calls it."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

import ticketdiet.paper.setting
from ticketdiet.cli.main import app
from ticketdiet.core.errors import UserError
from ticketdiet.studies.load import parse_study


@pytest.fixture
def small(monkeypatch, tmp_path, tiny_setting):
    """Calls the command at a setting that takes seconds."""
    monkeypatch.setattr(ticketdiet.paper.setting, "load_setting", lambda recipe, scale: tiny_setting)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        result = CliRunner().invoke(app, ["paper", *map(str, arguments)])
        assert result.exception is None, result.exception
        return result

    return call


def test_a_claim_is_run_judged_and_written_down(small, tmp_path):
    found = small("--claims", "C1", "--workers", 1, "--threads", 1)
    assert "C1 is undecided." in found.output
    assert "n = 2" in found.output
    written = tmp_path / "paper" / "digits-mini"
    verdicts = json.loads((written / "verdicts.json").read_text())["verdicts"]
    assert [verdict["claim"] for verdict in verdicts] == ["C1"]
    assert set(pd.read_csv(written / "rows.csv")["replicate"]) == {0, 1}
    assert "### C1: undecided" in (written / "verdicts.md").read_text()
    assert "The rule, as it was written before the runs" in (written / "index.html").read_text()
    again = small("--claims", "C1", "--judge", "--rows", written / "rows.csv", "--out", tmp_path / "again")
    assert again.output.splitlines()[:4] == [
        line for line in found.output.splitlines() if "C1" in line or "  - " in line
    ]


def test_one_replicate_is_run_and_others_come_from_a_file(small, tmp_path):
    small("--claims", "C1", "--workers", 1, "--threads", 1, "--replicates", "0", "--store", "here", "--out", "a")
    small("--claims", "C1", "--workers", 1, "--threads", 1, "--replicates", "1-1", "--store", "there", "--out", "b")
    found = small("--claims", "C1", "--judge", "--store", "here", "--rows", "b/rows.csv", "--out", "c")
    assert "n = 2" in found.output
    assert set(pd.read_csv(tmp_path / "c" / "rows.csv")["replicate"]) == {0, 1}


def test_rules_studies_and_plans_are_printed_without_running(small, tmp_path):
    assert "The claim is supported when every one of these is declared" in small("--rules").output
    studies = small("--show", "--claims", "C1,C7").output.split("---\n")
    assert [parse_study(text).study for text in studies] == ["c1-digits-mini", "c7-digits-mini"]
    planned = small("--plan", "--claims", "C1,C2", "--workers", 1, "--threads", 1).output
    assert "c2-digits-mini" in planned
    assert "together" in planned
    assert not list(tmp_path.iterdir())


def test_judging_nothing_says_that_nothing_is_there(small):
    found = small("--claims", "C2", "--judge", "--store", "none")
    assert "No replicate has finished what this asks for." in found.output
    assert "There are no rows to write yet." in found.output


@pytest.mark.parametrize("text", ["2", "1-0", "a", "0-2", "-1"])
def test_replicates_that_do_not_exist_are_refused(monkeypatch, tiny_setting, text):
    monkeypatch.setattr(ticketdiet.paper.setting, "load_setting", lambda recipe, scale: tiny_setting)
    result = CliRunner().invoke(app, ["paper", f"--replicates={text}"])
    assert isinstance(result.exception, UserError)
    assert "from 0 to 1" in str(result.exception)
