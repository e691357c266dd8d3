"""Nothing is left out without a word: what is missing or damaged is counted and named, and the rest is read."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import UserError
from ticketdiet.reports.completeness import DRAWN, SoundResults, study_state
from ticketdiet.reports.geometry_report import geometry_rows
from ticketdiet.reports.reading import read_rows, read_study
from ticketdiet.store.checking import Checker
from ticketdiet.store.results import ResultStore

SETTINGS = (
    "model.width=8",
    "training.steps=6",
    "pruning.levels=1",
    "replicates=3",
    "children=2",
    "scores.el2n={models: 1, steps: 2}",
    "arms={none@0: {}, easiest@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 32, score: el2n}}}}",
)
PAIRS = ("parent-child1", "parent-child2", "child1-child2")


def invented(stage, generator):
    """Tensors and documents as a stage of this kind keeps them, with invented numbers."""
    use = stage.uses[0]
    density = 0.5 ** max(use.level, 0)
    facts = {"density": density, "pairs": list(PAIRS), "layer_densities": {"w": density}}
    value = 0.8 + 0.01 * use.replicate + (0.05 if use.arm != "none@0" else 0) - 0.1 * max(use.level, 0)
    row = {"step": 6, "metric": "accuracy", "split": "test", "value": value}
    if stage.kind == "score":
        return {"scores": {"matrix": torch.rand(1, 96, generator=generator)}}, [], facts
    if stage.kind == "subset":
        return {"subset": {"indices": torch.arange(32)}}, [], facts
    if stage.kind == "barrier":
        arrays = {"alphas": torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)}
        for split in ("train", "test"):
            arrays[f"{split}/family"] = torch.rand(96, generator=generator).double()
            for pair in PAIRS:
                arrays[f"{split}/{pair}/per_example"] = torch.rand(96, generator=generator)
                arrays |= {f"{split}/{pair}/{what}": torch.rand(3).double() for what in ("loss", "error")}
        family = {"split": "train", "pair": "family", "tolerance": 0.1, "step": 6}
        return {"barrier": arrays}, [family | {"metric": "barrier_mean", "value": use.replicate / 10}], facts
    weights = {"weights": {"w": torch.rand(4, generator=generator)}}
    return weights, [row] if stage.kind in ("level", "pretrain") else [], facts


@pytest.fixture(scope="module")
def plan(plan_tiny):
    return plan_tiny(*SETTINGS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, plan, tiny_file):
    folder = tmp_path_factory.mktemp("whole")
    store, generator = ResultStore.open(folder / "runs"), torch.Generator().manual_seed(0)
    for address, stage in plan.stages.items():
        tensors, rows, facts = invented(stage, generator)
        documents = {"rows": rows, "facts": facts}
        inputs = dict(stage.inputs)
        about = {"kind": stage.kind, "version": stage.version, "spec": stage.identity, "inputs": inputs}
        store.write(address, **about, tensors=tensors, documents=documents)
    tiny_file(folder, *SETTINGS)
    return folder


@pytest.fixture
def store(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return ResultStore.open(tmp_path / "runs")


def first(plan, kind, number=0):
    return [address for address, stage in plan.stages.items() if stage.kind == kind][number]


def file_of(store, address, name):
    return Path(store.url) / "results" / address[:2] / address / name


def alter(path):
    """Flip a bit, and give the file its size and times back, as a failing disk or a swap of files would."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def command(store, *arguments):
    folder = Path(store.url).parent
    name, *others = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, [name, str(folder / "tiny.yaml"), *others, "--store", store.url])


def test_a_whole_study_is_complete_and_nothing_is_said(plan, store):
    state = study_state(plan, store, whole=DRAWN)
    assert state.is_complete
    assert state.sound == set(plan.stages)
    result = command(store, "results", "--strict")
    assert (result.exit_code, result.stderr) == (0, "")


def test_what_is_missing_is_counted_and_the_first_few_are_named(plan, store):
    levels = [address for address, stage in plan.stages.items() if stage.kind == "level"]
    for address in levels[:7]:
        store.discard(address)
    result = command(store, "results", "--format", "csv")
    assert result.exit_code == 0
    assert f"tiny: 7 of {len(plan.stages)} results are left out because they are missing" in result.stderr
    assert all(address in result.stderr for address in levels[:5])
    assert levels[5] not in result.stderr
    assert "and 2 more" in result.stderr
    rows = pd.read_csv(io.StringIO(result.stdout))
    assert not set(levels[:7]) & set(rows["address"])
    assert set(levels[7:]) <= set(rows["address"])


@pytest.mark.parametrize("name", ["results", "figure"])
def test_strict_is_exit_code_1_when_something_is_left_out(plan, store, tmp_path, name):
    out = ("--out", tmp_path / "figures") if name == "figure" else ()
    store.discard(first(plan, "child"))
    result = command(store, name, *out, "--strict")
    assert result.exit_code == 1
    assert result.stdout  # what there is comes all the same
    assert name == "figure" or command(store, name, *out).exit_code == 0


DAMAGES = {
    "rows altered, times kept": ("rows.json", alter),
    "rows cut": ("rows.json", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "facts altered, times kept": ("facts.json", alter),
    "weights gone": ("weights.safetensors", Path.unlink),
    "no manifest": ("manifest.json", Path.unlink),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_result_is_named_with_the_reason_and_the_rest_is_read(plan, store, name, damage):
    address = first(plan, "level", 1)
    damage(file_of(store, address, name))
    found = read_study(plan, store)
    assert set(found.state.damaged) == {address}
    assert not found.store.has(address)
    expected = {a for a, stage in plan.stages.items() if stage.kind in ("level", "pretrain", "barrier")} - {address}
    assert set(found.rows["address"]) == expected
    result = command(store, "results", "--strict")
    assert result.exit_code == 1
    label = plan.stages[address].label
    assert f"{label} ({address}): {found.state.damaged[address]}" in result.stderr
    assert "1 of" in result.stderr
    assert "damaged" in result.stderr


def test_from_python_rows_without_a_damaged_result_come_with_a_warning(plan, store):
    address = first(plan, "level")
    alter(file_of(store, address, "rows.json"))
    with pytest.warns(UserWarning, match=f"leave out a damaged result.*{address}.*rows.json"):
        rows = read_rows(plan, store)
    assert address not in set(rows["address"])


@pytest.mark.parametrize("kind", ["barrier", "score", "subset"])
def test_a_figure_is_drawn_without_arrays_that_do_not_match_their_checksum(plan, store, tmp_path, kind):
    address = first(plan, kind)
    alter(file_of(store, address, f"{'scores' if kind == 'score' else kind}.safetensors"))
    result = command(store, "figure", "--out", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    assert f"({address}): {'scores' if kind == 'score' else kind}.safetensors does not match" in result.stderr
    assert (tmp_path / "figures" / "accuracy.png").exists()
    assert (tmp_path / "figures" / "barrier_histogram.png").exists()


def test_a_result_that_may_not_be_looked_at_is_damaged_and_not_the_end(plan, store, monkeypatch):
    address, check = first(plan, "level"), Checker.check

    def refuses(self, asked):
        if asked == address:
            raise UserError("permission denied.")
        return check(self, asked)

    monkeypatch.setattr(Checker, "check", refuses)
    assert study_state(plan, store).damaged == {address: "permission denied"}


def test_examples_are_shown_without_a_damaged_family_which_is_named(plan, store):
    address = first(plan, "barrier")
    alter(file_of(store, address, "barrier.safetensors"))
    result = command(store, "per-example", "--by", "step", "--format", "json", "--strict")
    assert result.exit_code == 1
    assert address in result.stderr
    rows = pd.DataFrame(json.loads(result.stdout))
    assert {*rows["replicate"]} == {0, 1, 2}
    store.discard(address)
    assert (
        "1 of 7 results are left out because they are missing" in command(store, "per-example", "--by", "step").stderr
    )


def test_a_damaged_score_is_called_damaged_and_not_unfinished(plan, store):
    address = first(plan, "score")
    file_of(store, address, "scores.safetensors").unlink()
    folder = Path(store.url).parent
    error = (
        CliRunner().invoke(app, ["scores", "show", str(folder / "tiny.yaml"), "el2n", "--store", store.url]).exception
    )
    assert f"result {address}" in str(error)
    assert "score 'el2n': scores.safetensors is missing" in str(error)


def test_geometry_leaves_out_networks_whose_rewinding_point_is_damaged(plan, store, monkeypatch):
    point = first(plan, "pretrain")
    file_of(store, point, "weights.safetensors").unlink()
    looked_at = []
    monkeypatch.setattr(
        "ticketdiet.reports.geometry_report._Report.ways", lambda _, stage: looked_at.append(stage.address) or []
    )
    monkeypatch.setattr("ticketdiet.reports.geometry_report._Report.overlaps", lambda *_: [])
    monkeypatch.setattr(
        "ticketdiet.reports.geometry_report._Report.angles", lambda _, stage: looked_at.append(stage.address) or []
    )
    geometry_rows(plan, SoundResults(store, study_state(plan, store)))
    lost = {a for a, stage in plan.stages.items() if point in (a, stage.inputs.get("point"))}
    families = {a for a, stage in plan.stages.items() if lost & set(stage.inputs.values())} - lost
    assert families
    assert looked_at
    assert not set(looked_at) & lost
    assert not {a for a in looked_at if plan.stages[a].kind == "barrier"} & families


class TestFiles:
    def test_a_file_that_cannot_be_written_is_a_message_and_no_traceback(self, store, tmp_path):
        (tmp_path / "file").write_text("")
        error = command(store, "results", "--out", tmp_path / "file" / "x.csv").exception
        assert isinstance(error, UserError)
        assert "cannot be written" in str(error)

    @pytest.mark.parametrize("name", ["results", "per-example", "geometry"])
    def test_a_format_and_a_file_name_that_disagree_are_refused(self, store, tmp_path, name):
        error = command(store, name, "--format", "csv", "--out", tmp_path / "x.parquet").exception
        assert isinstance(error, UserError)
        assert "whose name says parquet" in error.came
        assert f"--out {tmp_path / 'x.csv'}" in error.way_out
        assert not (tmp_path / "x.parquet").exists()

    @pytest.mark.parametrize(
        ("name", "kind", "start"), [("csv", None, b"study,"), ("json", "json", b"[\n"), ("txt", "table", b"study ")]
    )
    def test_the_name_of_a_file_is_enough_to_say_its_format(self, store, tmp_path, name, kind, start):
        out = tmp_path / "new" / f"rows.{name}"
        result = command(store, "results", "--out", out, *(["--format", kind] if kind else []))
        assert result.exit_code == 0, result.output
        assert out.read_bytes().startswith(start)

    @pytest.mark.parametrize("name", ["rows", "rows.xlsx", ".", ".."])
    def test_a_name_that_says_no_format_is_refused(self, store, name):
        error = command(store, "results", "--out", name).exception
        assert isinstance(error, UserError)
        assert ".parquet, .csv, .json, .txt" in error.expected


class TestCompare:
    def test_two_arms_are_compared_by_hand(self, store):
        result = command(store, "compare", "easiest@2", "none@0", "--format", "json")
        assert result.exit_code == 0, result.output
        found = pd.DataFrame(json.loads(result.stdout))
        assert list(found["level"]) == [0, 1]
        assert np.allclose(found["mean"], [0.86, 0.76])
        assert np.allclose(found["baseline_mean"], [0.81, 0.71])
        assert np.allclose(found["difference"], 0.05)
        assert list(found["p_value"]) == [0.25, 0.25]
        assert found["low"].isna().all()  # all differences are equal

    def test_the_table_shows_difference_interval_n_and_the_smallest_p(self, store, plan):
        shown = command(store, "compare", "easiest@2", "none@0", "--level", "1").output
        text = " ".join(shown.split())
        assert "tiny: easiest@2 minus none@0" in text
        assert "paired by replicate" in text
        assert "exact sign-flip test" in text
        assert "the smallest p-value that 3 replicates can reach is 0.25" in text
        assert "0.7600" in text
        assert "0.8600" not in text

    def test_families_are_compared_by_their_mean_over_pairs(self, store):
        arguments = ("--metric", "barrier_mean", "--split", "train", "--format", "json")
        found = json.loads(command(store, "compare", "easiest@2", "none@0", *arguments).stdout)
        assert [(row["level"], row["n"], row["difference"]) for row in found] == [(0, 3, 0.0)]

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("nope", "none@0"), "unknown arm 'nope'"),
            (("none@0", "none@0"), "to compare with itself"),
            (("easiest@2", "none@0", "--metric", "nope"), "no rows of nope on test"),
            (("easiest@2", "none@0", "--level", "7"), "no rows of level 7"),
        ],
    )
    def test_a_mistake_says_what_came_and_the_way_out(self, store, arguments, says):
        error = command(store, "compare", *arguments).exception
        assert isinstance(error, UserError)
        assert says in str(error)
        assert error.expected

    def test_what_is_left_out_of_a_comparison_is_said(self, store, plan):
        address = next(a for a, s in plan.stages.items() if s.kind == "level" and s.uses[0].replicate == 2)
        store.discard(address)
        result = command(store, "compare", "easiest@2", "none@0", "--format", "csv", "--strict")
        assert result.exit_code == 1
        assert address in result.stderr
        assert set(pd.read_csv(io.StringIO(result.stdout))["n"]) == {2, 3}
