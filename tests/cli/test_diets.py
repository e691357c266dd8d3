import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import TicketDietError, UserError
from ticketdiet.core.values import Images, Scores
from ticketdiet.data.images import load_images
from ticketdiet.data.subsets import choose_subset
from ticketdiet.reports.diet_report import (
    class_rows,
    quantiles,
    read_scores,
    read_subset,
    stability_rows,
    stability_summary,
)
from ticketdiet.scores.catalog import score_names
from ticketdiet.scores.files import load_scores, read_values
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import load_spec
from ticketdiet.studies.plan import Plan, plan_study

SETTINGS = (
    "training.steps=6",
    "pruning.levels=0",
    "scores={el2n: {models: 3, steps: 2}, single: {models: 1, steps: 2}, unused: {kind: loss, steps: 2}}",
    "arms={none@0: {}, all@2: {pretrain: {steps: 2}}}",
    "arms.random@2={pretrain: {steps: 2, subset: {kind: random, size: 32}}}",
    "arms.easiest@2={pretrain: {steps: 2, subset: {kind: easiest, size: 20, score: el2n}}}",
    "arms.passes={pretrain: {passes: 1, dataset: {name: digits, limit: 40, seed: 3}}}",
    "arms.passes.pretrain.subset={kind: random, size: 17}",
    "arms.zeros@2={pretrain: {steps: 2, subset: {kind: hardest, size: 16, score: single}}}",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tiny_file):
    folder = tmp_path_factory.mktemp("diets")
    study = tiny_file(folder, *SETTINGS)
    result = command("run", study, "--store", folder / "runs", "--out", folder / "own", "--workers", 1)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def opened(tiny) -> tuple[Plan, ResultStore]:
    return plan_study(load_spec(str(tiny / "tiny.yaml"))), ResultStore.open(tiny / "runs", create=False)


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_scores_list_names_every_score_with_a_meaning():
    listed = command("scores", "list").output
    assert all(name in listed for name in score_names())
    assert "not squared, early in training" in " ".join(listed.split())


def test_a_score_is_shown_with_its_distribution_classes_stability_and_figures(tiny):
    result = command("scores", "show", tiny / "tiny.yaml", "el2n", "--store", tiny / "runs", "--out", tiny / "figures")
    assert result.exit_code == 0, result.output
    assert "el2n of 96 training examples, 3 models" in result.output
    assert "of easiest 9" in result.output
    assert "Spearman with all" in result.output
    for stem in ("el2n_distribution", "el2n_stability", "el2n_sheet"):
        for suffix in ("png", "svg"):
            assert (tiny / "figures" / f"{stem}.{suffix}").stat().st_size > 3000


def test_an_exported_score_says_when_it_was_permuted(tiny):
    study, where = tiny / "tiny.yaml", ("--store", tiny / "runs", "--set", "scores.single.permuted=true")
    assert command("run", study, *where, "--out", tiny / "own", "--workers", 1).exit_code == 0
    for name in ("single", "el2n"):
        assert command("scores", "export", study, name, *where, "--out", tiny / f"{name}.npz").exit_code == 0
    assert "permuted" in load_scores(tiny / "single.npz").provenance
    assert "permuted" not in load_scores(tiny / "el2n.npz").provenance


def test_a_score_of_one_model_says_that_it_has_no_stability(tiny):
    shown = command("scores", "show", tiny / "tiny.yaml", "single", "--store", tiny / "runs", "--out", tiny / "one")
    assert shown.exit_code == 0, shown.output
    assert "needs two models or more" in shown.output
    assert not (tiny / "one" / "single_stability.png").exists()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_exported_table_is_read_back_as_a_score_in_the_order_of_the_data(tiny, opened, ending):
    out = tiny / "exports" / f"scores.{ending}"
    result = command("scores", "export", tiny / "tiny.yaml", "el2n", "--store", tiny / "runs", "--out", out)
    assert result.exit_code == 0, result.output
    scores = read_scores(opened[0], opened[1], "el2n")
    assert np.allclose(read_values(out, 96), scores.mean)
    table = (pd.read_csv if ending == "csv" else pd.read_parquet)(out)
    assert table["label"].tolist() == load_images("digits", limit=96).train.labels.tolist()
    assert list(table.columns) == ["index", "label", "score", "model_0", "model_1", "model_2"]


def test_an_exported_npz_keeps_fingerprint_and_recipe(tiny, opened):
    out = tiny / "exports" / "scores.npz"
    assert (
        command("scores", "export", tiny / "tiny.yaml", "el2n", "--store", tiny / "runs", "--out", out).exit_code == 0
    )
    images = load_images("digits", limit=96).train
    scores = load_scores(out, images)
    assert np.array_equal(scores.matrix, read_scores(opened[0], opened[1], "el2n").matrix)
    assert scores.kind == "el2n"
    made: Any = scores.provenance["made"]
    assert made["steps"] == 2
    assert json.dumps(dict(scores.provenance))


def test_a_subset_is_shown_with_what_it_holds_and_misses(tiny, opened):
    images = load_images("digits", limit=96).train
    chosen = read_subset(opened[0], opened[1], "easiest@2")
    expected = choose_subset(read_scores(opened[0], opened[1], "el2n").mean, "easiest", 20)
    assert set(chosen.indices.tolist()) == set(expected.tolist())
    result = command(
        "subset", "show", tiny / "tiny.yaml", "easiest@2", "--store", tiny / "runs", "--out", tiny / "figures"
    )
    assert result.exit_code == 0, result.output
    assert "easiest@2: 20 of 96 training examples (20.8%)" in result.output
    missing = sorted(set(range(10)) - set(images.labels[torch.from_numpy(chosen.indices)].tolist()))
    assert f"classes missing: {', '.join(map(str, missing)) or 'none'}" in result.output
    for stem in ("distribution", "sheet"):
        assert (tiny / "figures" / f"easiest@2_replicate0_{stem}.png").stat().st_size > 3000


@pytest.mark.parametrize(("arm", "size"), [("random@2", 32), ("all@2", 96)])
def test_subsets_chosen_without_a_score_are_shown_beside_a_score_that_is_there(tiny, opened, arm, size):
    chosen = read_subset(opened[0], opened[1], arm)
    assert len(chosen.indices) == size
    assert chosen.score_name in ("el2n", "single")
    shown = command("subset", "show", tiny / "tiny.yaml", arm, "--store", tiny / "runs", "--out", tiny / "figures")
    assert shown.exit_code == 0, shown.output
    assert "of the subset" in shown.output


def test_a_subset_of_other_images_is_shown_with_those(tiny, opened):
    chosen = read_subset(opened[0], opened[1], "passes")
    assert chosen.images.fingerprint == load_images("digits", limit=40, seed=3).train.fingerprint
    assert (len(chosen.indices), chosen.scores) == (17, None)
    shown = command("subset", "show", tiny / "tiny.yaml", "passes", "--store", tiny / "runs", "--out", tiny / "other")
    assert "passes: 17 of 40 training examples" in shown.output
    assert [path.name for path in sorted((tiny / "other").iterdir())] == [
        "passes_replicate0_sheet.png",
        "passes_replicate0_sheet.svg",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scores", "show", "tiny", "el3n"), "unknown score 'el3n'"),
        (("scores", "show", "tiny", "unused"), "no arm chooses its subset by it"),
        (("scores", "export", "tiny", "el2n", "--out", "scores.txt"), ".csv, .parquet, .npy, .npz"),
        (
            ("scores", "export", "tiny", "el2n", "--original-order", "--out", "scores.npz"),
            ".npz carries the fingerprint",
        ),
        (("subset", "show", "tiny", "easy"), "unknown arm 'easy'"),
        (("subset", "show", "tiny", "none@0"), "is not pre-trained"),
        (("subset", "show", "tiny", "all@2", "--replicate", "1"), "replicate 1 of 1"),
        (("scores", "show", "tiny", "el2n", "--set", "scores.el2n.models=4"), "is not in"),
        (("subset", "show", "tiny", "random@2", "--set", "seed=9"), "The subset of arm 'random@2' of tiny is not in"),
    ],
)
def test_a_users_mistake_says_what_came_what_was_expected_and_the_way_out(tiny, arguments, says):
    arguments = [str(tiny / "tiny.yaml") if argument == "tiny" else argument for argument in arguments]
    error = command(*arguments, "--store", tiny / "runs").exception
    assert isinstance(error, UserError)
    assert error.exit_code == 2
    assert says in str(error)
    assert error.expected
    assert error.way_out


def test_a_mistake_ends_the_process_with_exit_code_2_and_no_traceback(tiny):
    arguments = ["scores", "show", str(tiny / "tiny.yaml"), "el3n", "--store", str(tiny / "runs")]
    result = subprocess.run(
        [sys.executable, "-m", "ticketdiet", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "did you mean 'el2n'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_cannot_be_written_is_the_users_mistake(tiny):
    (tiny / "file").write_text("")
    out = tiny / "file" / "scores.csv"
    error = command("scores", "export", tiny / "tiny.yaml", "el2n", "--store", tiny / "runs", "--out", out).exception
    assert isinstance(error, TicketDietError)
    assert "cannot be written" in str(error)


class TestSummaries:
    images = Images(torch.zeros(6, 2), torch.tensor([0, 0, 1, 1, 1, 2]), ("a", "b", "c", "d"))

    def test_classes_are_counted_and_averaged_by_hand(self):
        scores = Scores(np.array([[1.0, 2.0, 3.0, 4.0, np.inf, 6.0]], dtype=np.float32), "forgetting")
        a, b, c, d = class_rows(scores, self.images, 2)
        assert (a.examples, a.mean, a.infinite, a.easiest, a.hardest) == (2, 1.5, 0, 1.0, 0.0)
        assert (b.examples, b.mean, b.infinite, b.easiest, b.hardest) == (3, 3.5, 1, 0.0, 0.5)
        assert (c.mean, c.hardest) == (6.0, 0.5)
        assert d.examples == 0
        assert np.isnan(d.mean)

    def test_quantiles_are_scores_of_examples_and_end_at_infinity(self):
        found = quantiles(np.array([3.0, 1.0, 2.0, np.inf, 4.0]))
        assert found[0] == 1.0
        assert found[4] == 3.0
        assert found[-1] == np.inf
        assert set(found) <= {1.0, 2.0, 3.0, 4.0, np.inf}

    def test_the_table_of_stability_holds_the_means_of_what_the_figure_draws(self):
        scores = Scores(np.random.default_rng(0).random((4, 60)).astype(np.float32), "el2n")
        rows, means = stability_rows(scores, 10), stability_summary(scores, 10)
        assert [row.models for row in means] == [1, 2, 3, 4]
        for mean in means:
            own = [row for row in rows if row.models == mean.models]
            assert mean.spearman == pytest.approx(np.mean([row.spearman for row in own]))
            assert mean.overlap == pytest.approx(np.mean([row.overlap for row in own]))
        assert [row.held_out_spearman is None for row in means] == [False, False, True, True]

    def test_stability_has_a_row_a_draw_and_all_models_agree_with_themselves(self):
        rng = np.random.default_rng(0)
        scores = Scores((np.arange(50) + 9 * rng.normal(size=(3, 50))).astype(np.float32), "el2n")
        rows = stability_rows(scores, 10)
        assert {row.models for row in rows} == {1, 2, 3}
        assert len({row.spearman for row in rows if row.models == 1}) > 1
        assert all(row.spearman == pytest.approx(1) and row.overlap == 1 for row in rows if row.models == 3)
        assert stability_rows(Scores(scores.matrix[:1], "el2n"), 10) == ()


def test_scores_go_out_in_the_order_of_the_data_set_and_come_back_into_a_smaller_study(tiny, opened):
    own, whole = tiny / "own.npy", tiny / "whole.npy"
    where = ("--store", tiny / "runs", "--out")
    assert command("scores", "export", tiny / "tiny.yaml", "el2n", *where, own).exit_code == 0
    result = command("scores", "export", tiny / "tiny.yaml", "el2n", *where, whole, "--original-order")
    assert result.exit_code == 0, result.output
    plan, store = opened
    scores = read_scores(plan, store, "el2n").mean.astype(np.float32)
    assert np.array_equal(np.load(own), scores)
    images, part = load_images("digits").train, load_images("digits", limit=96).train
    places = [index for index, pixels in enumerate(images.pixels) if (part.pixels == pixels).flatten(1).all(1).any()]
    assert np.array_equal(np.load(whole)[places], scores)
    assert np.isnan(np.load(whole)).sum() == len(images) - 96
    given = f"scores={{given: {{kind: file, path: {whole}}}}}"
    arms = "arms={easiest@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 20, score: given}}}}"
    settings = ("--set", given, "--set", arms, "--set", "study=given")
    ran = command(
        "run", tiny / "tiny.yaml", *settings, "--store", tiny / "given", "--out", tiny / "own", "--workers", 1
    )
    assert ran.exit_code == 0, ran.output
    spec = load_spec(str(tiny / "tiny.yaml"), settings[1::2])
    chosen = read_subset(plan_study(spec), ResultStore.open(tiny / "given", create=False), "easiest@2").indices
    assert np.array_equal(chosen, choose_subset(Scores(scores[None], "el2n"), kind="easiest", size=20))
