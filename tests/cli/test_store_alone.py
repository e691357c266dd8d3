"""A store is enough: without data set and image cache, at another place, every table and figure is as before."""

import io
import json
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.studies.datasets import dataset_facts

SETTINGS = (
    "study=moved",
    "training.steps=6",
    "pruning.levels=1",
    "children=2",
    "replicates=2",
    "scores.el2n.steps=2",
    "arms={none@0: {}, easy@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 32, score: el2n}}}}",
)
ROWS = {
    "results": ("results", "STUDY", "--format", "csv"),
    "results as a table": ("results", "STUDY", "--columns", "arm,level,metric,value"),
    "compare": ("compare", "STUDY", "easy@2", "none@0", "--format", "csv"),
    "geometry": ("geometry", "STUDY", "--by-tensor", "--format", "csv"),
    "examples": ("per-example", "STUDY", "--format", "csv"),
    "test examples": ("per-example", "STUDY", "--split", "test", "--format", "csv"),
    "quantiles": ("per-example", "STUDY", "--by", "quantile", "--quantiles", "4", "--format", "csv"),
    "classes": ("per-example", "STUDY", "--by", "class", "--format", "csv"),
    "steps": ("per-example", "STUDY", "--by", "step", "--format", "csv"),
    "figures": ("figure", "STUDY", "--list"),
}
SEARCH = ("find-rewind", "STUDY", "--candidates", "0,2,4", "--workers", "1", "--json", "found.json")
SCORE = ("scores", "show", "STUDY", "el2n")
SUBSET = ("subset", "show", "STUDY", "easy@2")


def command(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def printed(arguments, study, store):
    return command(*(study if argument == "STUDY" else argument for argument in arguments), "--store", store).stdout


def text_of(arguments, study, store):
    """What a command prints before it says where its figures are."""
    return printed(arguments, study, store).split("figure:")[0]


@pytest.fixture(scope="module")
def moved(tmp_path_factory, tiny_file):
    """Path of the study, place of the store after the move, and what was printed before it."""
    here, away = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("away")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (96, 8, 8), dtype=np.uint8), rng.integers(0, 4, 96)
    names = ["ant", "bee", "cat", "dog"]
    np.savez(
        here / "data.npz", x_train=images, y_train=labels, x_test=images[:40], y_test=labels[:40], class_names=names
    )
    study = tiny_file(away, *SETTINGS, f"dataset={{name: 'npz:{here / 'data.npz'}'}}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("TICKETDIET_CACHE", str(here / "cache"))
        patch.setattr("ticketdiet.studies.executors.local.cpu_count", lambda: 1)
        patch.setattr("ticketdiet.studies.find_rewind.cpu_count", lambda: 1)
        command("run", study, "--store", "runs", "--workers", "1")
        before: dict[Any, Any] = {name: printed(arguments, study, "runs") for name, arguments in ROWS.items()}
        before |= {name: text_of(name, study, "runs") for name in (SCORE, SUBSET, SEARCH)}
        before["search"] = json.loads((here / "found.json").read_text())
        command("scores", "export", study, "el2n", "--store", "runs", "--out", "before.csv")
        before["score"] = (here / "before.csv").read_text()
        before["figure"] = {path.name: path.read_bytes() for path in (here / "figures" / "moved").glob("*.png")}
        shutil.move(here / "runs", away / "elsewhere")
    shutil.rmtree(here)
    dataset_facts.cache_clear()  # as a process that begins knows nothing of the data
    return study, away / "elsewhere", before


@pytest.fixture(params=["name", "file"])
def named(request, moved, tmp_path, monkeypatch):
    """The study as it is named, the store, what was printed before; in an empty folder."""
    study, store, before = moved
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path / "cache"))
    dataset_facts.cache_clear()
    return "moved" if request.param == "name" else study, store, before


@pytest.mark.parametrize("what", ROWS)
def test_every_table_has_the_rows_that_it_had(named, what):
    study, store, before = named
    assert before[what]
    assert printed(ROWS[what], study, store) == before[what]


def test_rows_of_examples_have_labels_and_classes(named):
    study, store, _ = named
    rows = pd.read_csv(io.StringIO(printed(ROWS["examples"], study, store)))
    assert len(rows) == 96 * 2 * 2
    assert set(zip(rows["label"], rows["class"], strict=True)) == set(enumerate(["ant", "bee", "cat", "dog"]))


def test_every_figure_is_drawn_and_has_the_bytes_that_it_had(named, tmp_path):
    study, store, before = named
    command("figure", study, "--store", store, "--out", tmp_path / "drawn")
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "drawn").glob("*.png")}
    assert {"accuracy.png", "sheet_el2n.png", "barrier_alpha.png"} <= set(drawn)
    assert drawn == {name: before["figure"][name] for name in drawn}
    assert set(before["figure"]) - set(drawn) == {"rewinding_point.png"}


def test_a_score_is_shown_with_its_images_and_exported(named, tmp_path):
    study, store, before = named
    assert text_of(SCORE, study, store) == before[SCORE]
    assert (tmp_path / "figures" / "moved" / "scores" / "el2n_sheet.png").stat().st_size > 3000
    command("scores", "export", study, "el2n", "--store", store, "--out", "after.csv")
    assert (tmp_path / "after.csv").read_text() == before["score"]


def test_a_subset_is_shown_without_its_images_and_says_why(named, tmp_path):
    study, store, before = named
    result = command("subset", "show", study, "easy@2", "--store", store)
    assert result.stdout.split("figure:")[0] == before[SUBSET]
    assert "No image is drawn, because the data set cannot be read" in result.stderr
    drawn = sorted(path.name for path in (tmp_path / "figures" / "moved" / "subsets").glob("*.png"))
    assert drawn == ["easy@2_replicate0_distribution.png"]


def test_a_search_that_is_finished_answers_from_the_store(named, tmp_path):
    study, store, before = named
    assert "everything was in the store already" in printed(SEARCH, study, store)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["stages_made"] == 0
    for key in ("k", "below", "candidates", "evidence", "cost", "sweep"):
        assert found[key] == before["search"][key]


def test_nothing_is_garbage_and_nothing_is_damaged(named):
    study, store, _ = named
    assert "0 damaged" in command("verify", "--store", store).stdout
    for studies in ((), (study,)):
        assert command("gc", *studies, "--store", store, "--yes").stdout == "Nothing to remove.\n"


def test_the_store_lists_the_study_as_finished(named):
    _, store, _ = named
    lines = command("studies", "--store", store).stdout.splitlines()
    line = next(line for line in lines if line.startswith("moved "))
    done, total = line.split()[-2:]
    assert done == total


def test_what_would_train_says_that_the_data_are_missing(named):
    study, store, _ = named
    for arguments in (("plan", study), ("run", study, "--workers", "1")):
        result = CliRunner().invoke(app, [*map(str, arguments), "--store", str(store)])
        assert result.exit_code != 0
        assert "data.npz" in str(result.exception)


def test_garbage_of_a_study_that_is_not_named_goes_with_its_record_and_its_search(
    moved, tmp_path, tiny_file, monkeypatch
):
    _, store, _ = moved
    monkeypatch.chdir(tmp_path)
    shutil.copytree(store, tmp_path / "runs")
    small = ("model.width=2", "training.steps=2", "pruning.levels=0", "scores={}", "arms={none@0: {}}")
    other = tiny_file(tmp_path, "study=other", *small)
    command("run", other, "--workers", "1", "--threads", "1")
    asked = CliRunner().invoke(app, ["gc", "other"], input="n\n")
    assert asked.exit_code == 1
    assert "To be removed: the record of study moved" in asked.stdout
    assert "Nothing was removed." in asked.stdout
    assert "moved" in command("studies", "--store", "runs").stdout
    assert "2 results stay: those of other." in command("gc", "other", "--yes").stdout
    assert "moved" not in command("studies", "--store", "runs").stdout
    assert len(list((tmp_path / "runs").rglob("manifest.json"))) == 2
    assert command("results", "other", "--format", "csv").stdout
