"""The facade: each reading against the store's own, networks that are what the rows say, and figures of others."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console
from typer.testing import CliRunner

import ticketdiet as td
from ticketdiet.cli.main import app
from ticketdiet.core.errors import NoStore, UnknownName, UserError
from ticketdiet.data.images import load_images
from ticketdiet.reports.figure_registry import FIGURES
from ticketdiet.reports.progress import RunView
from ticketdiet.store.results import ResultStore
from ticketdiet.training.evaluation import evaluate

SETTINGS = (
    "children=2",
    "scores.el2n.steps=4",
    "arms={none@0: {}, easy@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 32, score: el2n}}}}",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_file):
    folder = tmp_path_factory.mktemp("facade")
    loaded = td.load_study(tiny_file(folder, *SETTINGS), store=folder / "runs")
    loaded.run(workers=1, threads=1)
    return loaded


@pytest.fixture
def store(study):
    return ResultStore.open(study.url, create=False)


def stage(study, kind, arm, **fields):
    return next(
        stage
        for stage in study.plan.stages.values()
        if stage.kind == kind
        and any(use.arm == arm for use in stage.uses)
        and all(getattr(stage, name) == value for name, value in fields.items())
    )


def test_rows_are_those_of_the_plan_and_the_store(study, store):
    rows = study.rows()
    assert rows.equals(td.read_rows(study.plan, store))
    assert study.results().state.is_complete
    assert set(rows["address"]) <= set(store.addresses())


def test_the_plan_that_was_recorded_is_the_plan_of_the_data(study):
    again = td.plan_study(study.spec)
    assert list(study.plan.stages) == list(again.stages) == list(study.plan_on_data().stages)
    recorded = td.load_study("tiny", store=study.url)
    assert list(recorded.plan.stages) == list(again.stages)
    assert recorded.spec == study.spec


def test_scores_are_the_matrix_that_the_store_holds(study, store):
    stored = store.tensors(stage(study, "score", "el2n").address, "scores")["matrix"]
    assert np.array_equal(study.scores("el2n").matrix, stored.numpy())


def test_a_subset_is_the_indices_that_the_store_holds(study, store):
    stored = store.tensors(stage(study, "subset", "easy@2").address, "subset")["indices"]
    chosen = study.subset("easy@2")
    assert np.array_equal(chosen.indices, stored.numpy())
    assert chosen.images.labels.tolist() == load_images("digits", limit=96).train.labels.tolist()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_network_is_zero_where_its_mask_is_and_as_accurate_as_the_rows_say(study, level):
    network, mask = study.network("easy@2", level=level), study.mask("easy@2", level=level)
    weights = network.state_dict()
    assert all(torch.count_nonzero(weights[name][kept == 0]) == 0 for name, kept in mask.items())
    kept = sum(int(tensor.sum()) for tensor in mask.values()) / sum(tensor.numel() for tensor in mask.values())
    rows = study.rows()
    own = rows[(rows["arm"] == "easy@2") & (rows["level"] == level) & (rows["kind"] == "level")]
    assert kept == pytest.approx(own["density"].iloc[0])
    assert kept == pytest.approx(0.5**level, abs=1e-3)
    last = own[(own["metric"] == "accuracy") & (own["split"] == "test")]["value"].item()
    assert evaluate(network, load_images("digits", limit=96).test).accuracy == pytest.approx(last)
    assert not network.training


def test_a_network_is_the_sparsest_unless_a_level_is_named(study):
    sparsest = study.network("none@0", level=2).state_dict()
    assert all(torch.equal(tensor, sparsest[name]) for name, tensor in study.network("none@0").state_dict().items())


def test_the_point_is_what_the_levels_were_rewound_to(study, store):
    stored = store.tensors(stage(study, "pretrain", "easy@2", steps=2).address, "weights")
    found = study.point("easy@2")
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], stored[name]) for name in stored)


def test_a_family_holds_the_barriers_that_the_store_holds(study, store):
    stored = store.tensors(stage(study, "barrier", "easy@2", family=True).address, "barrier")
    family = study.family("easy@2")
    pairs = [stored[f"train/{pair}/per_example"] for pair in ("parent-child1", "parent-child2", "child1-child2")]
    assert family.per_example("train") == pytest.approx(torch.stack(pairs).mean(0).numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda study: study.network("nobody"), "unknown arm"),
        (lambda study: study.network("none@0", replicate=1), "replicate 1"),
        (lambda study: study.network("none@0", level=3), "no level 3"),
        (lambda study: study.scores("el3n"), "unknown score"),
        (lambda study: study.subset("none@0"), "not pre-trained"),
        (lambda study: study.family("none@0", replicate=1), "no barriers"),
        (lambda study: study.figure("accurcy"), "did you mean 'accuracy'"),
    ],
)
def test_what_the_study_does_not_have_is_refused_in_three_parts(study, ask, says):
    with pytest.raises(UserError) as refused:
        ask(study)
    assert says in str(refused.value)
    assert refused.value.expected
    assert refused.value.way_out


def test_names_that_lead_to_no_study_and_places_without_a_store_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="unknown study 'nothing'"):
        td.load_study("nothing", store=tmp_path)
    with pytest.raises(NoStore):
        _ = td.load_study("quickstart", store=tmp_path / "nowhere").store
    assert not (tmp_path / "nowhere").exists()


def test_some_arms_of_a_study_have_their_own_rows_and_plan(study):
    some = td.load_study("tiny", store=study.url, arms=["easy@2"])
    assert set(some.rows()["arm"]) == {"easy@2"}
    assert set(some.plan.stages) < set(study.plan.stages)
    assert some.run(workers=1, threads=1).made == 0
    assert list(td.load_study("tiny", store=study.url).plan.stages) == list(study.plan.stages)


@pytest.fixture
def spirals(monkeypatch):
    """Another package's figure."""
    monkeypatch.setattr(FIGURES, "_known", dict(FIGURES._known))

    @FIGURES.register("spirals")
    def spirals(found):
        figure = Figure((1, 1))
        figure.text(0.5, 0.5, f"{found.name}: {len(found.rows)} rows")
        return {"": figure, "wide": Figure((2, 1))}


def test_a_registered_figure_is_named_drawn_and_drawn_by_the_command(study, spirals, tmp_path):
    assert {"accuracy", "spirals", "spirals_wide"} <= set(study.figure_names())
    assert study.figure("spirals").texts[0].get_text() == f"tiny: {len(study.rows())} rows"
    assert study.figure("spirals_wide").get_figwidth() == 2
    arguments = ["figure", "tiny", "--store", study.url, "--out", str(tmp_path), "--name", "spirals"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spirals.png", "spirals.svg"]


def test_a_run_shows_how_it_goes_where_there_is_no_terminal(tmp_path, tiny_file, monkeypatch):
    monkeypatch.setattr("ticketdiet.reports.progress.SECONDS_BETWEEN_LINES", 0.0)
    console = Console(file=io.StringIO(), force_terminal=False, record=True, width=100)
    monkeypatch.setattr("ticketdiet.reports.study.RunView", lambda **options: RunView(console, **options))
    path, small = tiny_file(tmp_path, *SETTINGS), ["pruning.levels=0", "children=0", "scores.el2n.models=1"]
    made = td.load_study(path, small, store=tmp_path / "runs").run(workers=1, threads=1)
    said = console.export_text()
    assert f"tiny: {made.made} of {made.made} stages to do" in said
    assert f"{made.made} of {made.made} stages, 100 %" in said
