"""The commands where replicates have scores of their own, and the warnings of a plan."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import UserError
from ticketdiet.scores.files import load_scores

SETTINGS = (
    "training.steps=6",
    "pruning.levels=0",
    "replicates=2",
    "scores.own={models: 2, steps: 2, per_replicate: true}",
    "scores.shared={models: 2, steps: 2, batch_norm: eval}",
    "arms={own@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 20, score: own}}}}",
    "arms.shared@2={pretrain: {steps: 2, subset: {kind: easiest, size: 20, score: shared}}}",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tiny_file):
    folder = tmp_path_factory.mktemp("replicates")
    study = tiny_file(folder, *SETTINGS)
    ran = command("run", study, "--store", folder / "runs", "--out", folder / "own", "--workers", 1)
    assert ran.exit_code == 0, ran.output
    return folder, ran


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_score_of_a_replicate_is_shown_and_says_whose_it_is(tiny):
    folder, _ = tiny
    shown = {}
    for replicate in (0, 1):
        where = ("--store", folder / "runs", "--out", folder / "figures", "--replicate", replicate)
        result = command("scores", "show", folder / "tiny.yaml", "own", *where)
        assert result.exit_code == 0, result.output
        assert f"own, replicate {replicate}: el2n of 96 training examples, 2 models" in result.output
        assert (folder / "figures" / f"own_replicate{replicate}_distribution.png").exists()
        shown[replicate] = result.output.split("2 models")[1].split("figure:")[0]
    assert shown[0] != shown[1]
    default = command("scores", "show", folder / "tiny.yaml", "own", *where[:4])
    assert "own, replicate 0: el2n" in default.output


def test_a_score_of_all_replicates_is_the_same_for_each(tiny):
    folder, _ = tiny
    for replicate in (0, 1):
        where = ("--store", folder / "runs", "--out", folder / "figures", "--replicate", replicate)
        assert "shared: el2n of 96" in command("scores", "show", folder / "tiny.yaml", "shared", *where).output
    assert (folder / "figures" / "shared_distribution.png").exists()


def test_the_score_of_a_replicate_is_exported_with_its_number(tiny):
    folder, _ = tiny
    exported = []
    for replicate in (0, 1):
        out = folder / f"own{replicate}.npz"
        where = ("--store", folder / "runs", "--out", out, "--replicate", replicate)
        assert f"replicate {replicate}" in command("scores", "export", folder / "tiny.yaml", "own", *where).output
        exported.append(load_scores(out))
        assert exported[-1].provenance["replicate"] == replicate
    assert not np.array_equal(exported[0].matrix, exported[1].matrix)


def test_a_replicate_that_the_study_does_not_have_is_refused(tiny):
    folder, _ = tiny
    where = ("--store", folder / "runs", "--replicate", 2)
    error = command("scores", "show", folder / "tiny.yaml", "own", *where).exception
    assert isinstance(error, UserError)
    assert "replicate 2 of 2" in str(error)


def test_plan_and_run_warn_of_running_statistics_after_a_short_score_training(tiny):
    folder, ran = tiny
    planned = command("plan", folder / "tiny.yaml", "--store", folder / "runs")
    for result in (planned, ran):
        assert "warning: scores.shared has batch_norm eval after a training of 2 steps" in result.stderr
    without = command(
        "plan", folder / "tiny.yaml", "--store", folder / "runs", "--set", "scores.shared.batch_norm=null"
    )
    assert without.exit_code == 0
    assert "warning" not in without.output


def test_a_plan_names_the_models_of_a_score(tiny):
    folder, _ = tiny
    planned = command("plan", folder / "tiny.yaml", "--store", folder / "runs", "--format", "json")
    stages = json.loads(planned.stdout)["stages"]
    models = [(s["arm"], s["replicate"], s["model"]) for s in stages if s["kind"] == "score_model"]
    assert sorted(models, key=str) == sorted(
        [("own", r, m) for r in (0, 1) for m in (0, 1)] + [("shared", None, m) for m in (0, 1)], key=str
    )
    assert {s["model"] for s in stages if s["kind"] != "score_model"} == {None}
    assert "own model 1" in command("plan", folder / "tiny.yaml", "--store", folder / "runs").output
