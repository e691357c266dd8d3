import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from ticketdiet.cli.barrier import parse_alphas
from ticketdiet.cli.main import app
from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import UserError
from ticketdiet.data.images import load_images
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import load_spec
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.run import run_plan

EXAMPLES = 96
SETTINGS = (
    f"dataset.limit={EXAMPLES}",
    "training.steps=6",
    "pruning.levels=1",
    "children=2",
    "replicates=2",
    "scores.el2n.steps=3",
    "arms={none@0: {}, easy@2: {pretrain: {steps: 2, subset: {kind: easiest, size: 32, score: el2n}}}}",
)


class Workshop:
    """A finished tiny study, and the command line beside it."""

    def __init__(self, study):
        self.folder = folder = study.parent
        self.plan = plan_study(load_spec(str(study)))
        self.store = ResultStore.open(folder / "runs")
        run_plan(self.plan, self.store, workers=1)

    def find(self, kind, arm="none@0", replicate=0, **fields):
        return next(
            stage.address
            for stage in self.plan.stages.values()
            if stage.kind == kind
            and any((use.arm, use.replicate) == (arm, replicate) for use in stage.uses)
            and all(getattr(stage, key) == value for key, value in fields.items())
        )

    def command(self, *arguments):
        return CliRunner().invoke(app, [*map(str, arguments), "--store", str(self.folder / "runs")])

    def done(self, *arguments):
        result = self.command(*arguments)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.output

    def refused(self, *arguments):
        result = self.command(*arguments)
        assert isinstance(result.exception, UserError), result.output
        assert result.exception.exit_code == 2
        return str(result.exception)


@pytest.fixture(scope="module")
def work(tmp_path_factory, tiny_file):
    # One thread: two wait for each other where other tests run at the same time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ticketdiet.studies.executors.local.cpu_count", lambda: 1)
        yield Workshop(tiny_file(tmp_path_factory.mktemp("landscape"), *SETTINGS))


@pytest.fixture
def digits():
    return ("--dataset", "digits", "--limit", EXAMPLES)


def test_barrier_measures_what_the_study_stored_for_the_same_pair(work, tmp_path):
    parent, child = work.find("level", level=0), work.find("child", child=1)
    arguments = ("--study", work.folder / "tiny.yaml", "--alphas", "0.5", "--json", tmp_path / "b.json")
    said = work.done("barrier", parent, child, *arguments, "--out", tmp_path)
    rows = pd.DataFrame(work.store.document(work.find("barrier", family=True), "rows"))
    stored = rows[(rows["pair"] == "parent-child1") & (rows["split"] == "train")].set_index("metric")["value"]
    found = json.loads((tmp_path / "b.json").read_text())
    for metric in ("barrier_mean", "barrier_max", "error_barrier", "connected_fraction"):
        assert found[metric] == pytest.approx(stored[metric], abs=1e-6)
    assert f"{stored['barrier_mean']:.4f} nats" in said
    for figure in ("alpha.png", "alpha.svg", "histogram.png", "histogram.svg"):
        assert (tmp_path / figure).stat().st_size > 5000


def test_on_the_test_split_study_and_command_recalibrate_on_training_images(work, tmp_path):
    from ticketdiet.landscape.measurement import measure_barrier
    from ticketdiet.studies.stored_networks import load_network

    setting = "measure.batch_norm=recalibrate"
    plan = plan_study(load_spec(str(work.folder / "tiny.yaml"), [setting]))
    assert run_plan(plan, work.store, workers=1).made > 0
    parent, child = work.find("level", level=0), work.find("child", child=1)
    stage = next(s for s in plan.stages.values() if s.kind == "barrier" and s.inputs["parent"] == parent)
    arguments = ("--study", work.folder / "tiny.yaml", "--alphas", "0.5", "--batch-norm", "recalibrate")
    said = work.done(
        "barrier", parent, child, *arguments, "--split", "test", "--out", tmp_path, "--json", tmp_path / "b.json"
    )
    assert "BatchNorm: recalibrate on train images" in said
    a, b = (load_network(work.store, address) for address in (parent, child))
    images = load_images("digits", limit=EXAMPLES)
    expected = measure_barrier(
        a.build(), a.weights, b.weights, images.test, batch_norm="recalibrate", calibration=images.train
    )
    on_test = measure_barrier(a.build(), a.weights, b.weights, images.test, batch_norm="recalibrate")
    losses = expected.losses.double().mean(1).numpy()
    assert np.abs(on_test.losses.double().mean(1).numpy() - losses).max() > 1e-3
    stored = work.store.tensors(stage.address, "barrier")["test/parent-child1/loss"]
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["calibrated_on"] == "train"
    assert found["loss"] == pytest.approx(losses, abs=1e-5)
    assert stored.numpy() == pytest.approx(losses, abs=1e-5)


def test_a_network_and_itself_have_no_barrier_at_any_of_eleven_points(work, digits, tmp_path):
    level = work.find("level", level=1)
    work.done(
        "barrier", level[:12], level, *digits, "--split", "test", "--out", tmp_path, "--json", tmp_path / "b.json"
    )
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["alphas"] == pytest.approx(np.linspace(0, 1, 11).tolist())
    assert found["barrier_mean"] == found["error_barrier"] == 0
    assert found["connected_fraction"] == 1


def test_barriers_of_examples_are_written_as_npy_and_as_a_table(work, digits, tmp_path):
    pair = (work.find("child", child=1), work.find("child", child=2))
    for file in ("e.npy", "e.parquet", "e.csv"):
        work.done("barrier", *pair, *digits, "--out", tmp_path, "--per-example", tmp_path / file)
    barriers, table = np.load(tmp_path / "e.npy"), pd.read_parquet(tmp_path / "e.parquet")
    chord = (table["loss_a"].astype(float) + table["loss_b"].astype(float)) / 2
    assert barriers == pytest.approx((table["loss_midpoint"] - chord).to_numpy(), abs=1e-6)
    assert table["connected"].tolist() == (barriers <= 0.1).tolist()
    assert table["label"].tolist() == load_images("digits", limit=EXAMPLES).train.labels.tolist()
    assert pd.read_csv(tmp_path / "e.csv")["barrier"].to_numpy() == pytest.approx(barriers)


def test_aligned_networks_are_no_farther_apart_and_masks_of_two_levels_go_along(work, digits, tmp_path):
    pair = (work.find("level", level=0), work.find("level", replicate=1, level=1))
    for method in ("weights", "activations"):
        said = work.done("barrier", *pair, *digits, "--align", method, "--out", tmp_path, "--json", tmp_path / "b.json")
        assert f"b aligned by {method}" in said
    work.done("barrier", *pair, *digits, "--align", "weights", "--out", tmp_path, "--json", tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["distance_after"] <= found["distance_before"]


def test_curvature_says_the_same_twice_and_sees_fewer_weights_under_a_mask(work, digits, tmp_path):
    level = work.find("level", level=1)
    arguments = ("curvature", level, *digits, "--examples", 16, "--batch-norm", "batch", "--seed", 3)
    documents = []
    for name, more in (("a", ("--top", 1)), ("b", ("--top", 1)), ("c", ("--top", 0))):
        kept_only = () if name == "c" else ("--kept-only",)
        work.done(*arguments, *more, *kept_only, "--json", tmp_path / f"{name}.json")
        documents.append(json.loads((tmp_path / f"{name}.json").read_text()))
    kept, again, whole = documents
    assert kept == again
    assert len(kept["eigenvalues"]) == 1
    assert (kept["num_examples"], kept["batch_norm"], kept["seed"]) == (16, "batch", 3)
    removed = sum(int((mask == 0).sum()) for mask in work.store.tensors(level, "mask").values())
    assert whole["dimension"] - kept["dimension"] == removed > 0


def test_curvature_recalibrates_on_training_images_and_warns_of_young_statistics(work, digits, tmp_path):
    point, level = work.find("pretrain", steps=0), work.find("level", level=0)
    arguments = (*digits, "--examples", 16, "--split", "test", "--top", 1, "--json", tmp_path / "c.json")
    said = work.done("curvature", point, *arguments)
    assert "BatchNorm: recalibrate on train images" in said
    assert "warning" not in said
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["batch_norm"], found["calibrated_on"]) == ("recalibrate", "train")
    told = work.done("curvature", point, *arguments, "--batch-norm", "eval")
    assert "warning: after 0 steps BatchNorm's running statistics lag behind the weights" in told
    stale = json.loads((tmp_path / "c.json").read_text())
    assert (stale["batch_norm"], stale["calibrated_on"]) == ("eval", None)
    assert stale["eigenvalues"] != pytest.approx(found["eigenvalues"], rel=0.3)
    assert "warning" not in work.done("curvature", level, *arguments, "--batch-norm", "eval")


def test_curvature_estimates_the_trace_and_draws_the_density(work, digits, tmp_path):
    arguments = ("--examples", 8, "--top", 0, "--trace", "--density", "--out", tmp_path, "--json", tmp_path / "c.json")
    work.done("curvature", work.find("pretrain"), *digits, *arguments)
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["trace"]["products"] == 60
    assert np.trapezoid(found["density"]["density"], found["density"]["grid"]) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "eigenvalues.png").stat().st_size > 5000
    assert "BatchNorm: recalibrate" in (tmp_path / "eigenvalues.svg").read_text()


def test_addresses_that_lead_to_no_pair_of_networks_are_refused(work, digits, tmp_path):
    level, subset = work.find("level"), work.find("subset", "easy@2")
    assert "holds no weights" in work.refused("barrier", level, subset, *digits)
    assert "No stored results begin with 'zz'" in work.refused("barrier", level, "zz", *digits)
    assert "stored results begin with ''" in work.refused("curvature", "", *digits)
    wide = plan_study(load_spec(str(work.folder / "tiny.yaml"), ["model.width=8"]))
    other = ResultStore.open(tmp_path / "both")
    for plan in (wide, work.plan):
        points = {a: s for a, s in plan.stages.items() if s.kind == "pretrain" and s.steps == 0}
        run_plan(replace(plan, stages=points), other, workers=1)
    narrow, broad = sorted(other.addresses(), key=lambda a: other.manifest(a).spec["network"]["width"])[::3]
    result = CliRunner().invoke(app, ["barrier", narrow, broad, *map(str, digits), "--store", str(tmp_path / "both")])
    assert "tensor 'conv.weight' is (4, 1, 3, 3) in the network and (8, 1, 3, 3) in b" in str(result.exception)


def test_weights_that_are_not_finite_are_refused(work, digits):
    level = work.find("level", level=0)
    manifest, weights = work.store.manifest(level), work.store.tensors(level, "weights")
    name = next(iter(weights))
    broken = weights | {name: torch.full_like(weights[name], torch.nan)}
    spec = manifest.spec | {"seed": 99}
    identity = {"kind": "level", "version": manifest.version, "spec": spec, "inputs": manifest.inputs}
    address = address_of(**identity)
    work.store.write(address, **identity, tensors={"weights": broken, "mask": work.store.tensors(level, "mask")})
    assert f"tensor {name!r} of b" in work.refused("barrier", level, address, *digits)
    assert "NaN" in work.refused("curvature", address, *digits)
    work.store.discard(address)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "neither --study nor --dataset"),
        (("--dataset", "digits", "--study", "quickstart"), "both --study and --dataset"),
        (("--dataset", "digits"), "The train images of digits are"),
        (("--dataset", "digits", "--limit", EXAMPLES, "--tolerance", -1), "tolerance is -1"),
        (("--dataset", "digits", "--limit", EXAMPLES, "--alphas", "0.5,x"), "--alphas is '0.5,x'"),
        (("--dataset", "digits", "--limit", EXAMPLES, "--alphas", "0.5,2"), "alpha=2.0"),
        (("--dataset", "digits", "--limit", EXAMPLES, "--split", "validation"), "unknown split 'validation'"),
        (("--dataset", "digits", "--limit", EXAMPLES, "--per-example", "e.txt"), "'.txt'"),
    ],
)
def test_a_barrier_that_cannot_be_measured_is_refused(work, arguments, says):
    assert says in work.refused("barrier", work.find("level"), work.find("child"), *arguments)


def test_the_kept_space_of_a_network_without_a_mask_is_refused(work, digits):
    assert "has no mask" in work.refused("curvature", work.find("pretrain"), *digits, "--kept-only")


def test_alphas_are_a_number_of_points_or_a_list():
    assert parse_alphas("5") == [0, 0.25, 0.5, 0.75, 1]
    assert parse_alphas("0.5") == [0.5]
    assert parse_alphas("0.1,0.9") == [0.1, 0.9]


def test_find_rewind_answers_with_evidence_and_cost_and_a_second_time_from_the_store(work, tmp_path):
    arguments = (
        "find-rewind",
        work.folder / "tiny.yaml",
        "--candidates",
        "0,2,4",
        "--max-barrier",
        1000,
        "--workers",
        1,
    )
    first = work.done(*arguments, "--out", tmp_path, "--json", tmp_path / "f.json")
    assert "k = 0: the smallest candidate is connected already" in first
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["arm"] == "easy@2"
    assert [evidence["k"] for evidence in found["evidence"]] == [2, 0]
    assert (tmp_path / "rewinding_point.png").stat().st_size > 5000
    assert "everything was in the store already" in work.done(*arguments, "--out", tmp_path)
    never = work.done(*arguments[:-4], "--max-barrier", -1000, "--workers", 1, "--out", tmp_path)
    assert "No candidate is connected up to k = 4" in never


def test_find_rewind_refuses_candidates_that_are_no_steps(work):
    study = work.folder / "tiny.yaml"
    assert "--candidates is '0,x'" in work.refused("find-rewind", study, "--candidates", "0,x")
    assert "unknown arm" in work.refused("find-rewind", study, "--arm", "nobody")
    assert "min_fraction is 3.0" in work.refused("find-rewind", study, "--min-fraction", 3)


def test_per_example_rows_hold_label_scores_and_barriers_of_every_family(work, tmp_path):
    work.done("per-example", work.folder / "tiny.yaml", "--out", tmp_path / "e.parquet")
    rows = pd.read_parquet(tmp_path / "e.parquet")
    assert len(rows) == EXAMPLES * 2 * 2
    own = rows[(rows["arm"] == "easy@2") & (rows["replicate"] == 1)]
    pairs = work.store.tensors(work.find("barrier", "easy@2", 1), "barrier")
    mean = sum(pairs[f"train/{pair}/per_example"] for pair in ("parent-child1", "parent-child2", "child1-child2")) / 3
    assert own["barrier"].to_numpy() == pytest.approx(mean.numpy(), abs=1e-6)
    assert own["connected"].tolist() == (own["barrier"] <= 0.1).tolist()
    score = work.store.tensors(work.find("score", "el2n", -1), "scores")["matrix"].mean(0)
    assert own["score_el2n"].to_numpy() == pytest.approx(score.numpy())
    assert own["label"].tolist() == load_images("digits", limit=EXAMPLES).train.labels.tolist()
    test = work.done("per-example", work.folder / "tiny.yaml", "--split", "test", "--format", "csv")
    assert "score_el2n" not in test.splitlines()[0]


def test_connected_fractions_by_quantile_and_class_count_every_example_once(work, tmp_path):
    study = work.folder / "tiny.yaml"
    work.done("per-example", study, "--out", tmp_path / "e.csv")
    examples = pd.read_csv(tmp_path / "e.csv")
    for by, groups in (("quantile", 4), ("class", 10)):
        work.done("per-example", study, "--by", by, "--quantiles", 4, "--out", tmp_path / "g.csv")
        rows = pd.read_csv(tmp_path / "g.csv")
        assert len(rows) == 2 * 2 * groups
        for (arm, replicate), own in rows.groupby(["arm", "replicate"]):
            family = examples[(examples["arm"] == arm) & (examples["replicate"] == replicate)]
            assert own["count"].sum() == EXAMPLES
            assert (own["count"] * own["connected_fraction"]).sum() == pytest.approx(family["connected"].sum())
            assert (own["count"] * own["barrier_mean"]).sum() == pytest.approx(family["barrier"].sum())
    zeros = family[family["class"] == 0]
    assert own.set_index("group")["connected_fraction"][0] == pytest.approx(zeros["connected"].mean())


def test_rows_by_step_split_the_examples_by_where_they_are_first_connected(work, tmp_path):
    work.done("per-example", work.folder / "tiny.yaml", "--by", "step", "--out", tmp_path / "s.parquet")
    rows = pd.read_parquet(tmp_path / "s.parquet")
    easy = rows[(rows["pretrained_on"] == "easiest 32") & (rows["replicate"] == 0)]
    assert easy["pretrain_steps"].tolist()[:2] == [0, 2]
    assert easy["first_connected"].sum() == pytest.approx(1)
    assert (rows.groupby(["pretrained_on", "replicate"])["first_connected"].sum() - 1).abs().max() < 1e-9


def test_geometry_rows_tell_how_far_networks_went_and_what_masks_share(work, tmp_path):
    work.done("geometry", work.folder / "tiny.yaml", "--by-tensor", "--out", tmp_path / "g.csv")
    rows = pd.read_csv(tmp_path / "g.csv", keep_default_na=False)
    rows["value"] = rows["value"].astype(float)

    def value(address, metric, against):
        chosen = rows[(rows["address"] == address) & (rows["metric"] == metric) & (rows["against"] == against)]
        return chosen[chosen["tensor"] == ""]["value"].item()

    level, point = work.find("level", level=0), work.find("pretrain", steps=0)
    assert value(point, "distance", "initialisation") == 0
    weights, start = (work.store.tensors(address, "weights") for address in (level, point))
    ways = [(weights[n] - start[n]).double().flatten() for n in start if not n.endswith(("_mean", "_var", "_tracked"))]
    assert value(level, "distance", "point") == pytest.approx(float(torch.cat(ways).norm()))
    assert value(level, "distance", "initialisation") == pytest.approx(value(level, "distance", "point"))
    sparse, other = work.find("level", level=1), work.find("level", replicate=1, level=1)
    masks = [torch.cat([m.flatten() for m in work.store.tensors(a, "mask").values()]) for a in (sparse, other)]
    both = int((masks[0] & masks[1]).sum())
    assert value(sparse, "mask_overlap", "replicate 1") == pytest.approx(both / int(masks[0].sum()))
    layers = [work.store.tensors(a, "mask") for a in (sparse, other)]
    shared = sum(int(m.sum()) * int(layers[1][name].sum()) / m.numel() for name, m in layers[0].items())
    by_chance = value(sparse, "mask_overlap_by_chance_layerwise", "replicate 1")
    assert by_chance == pytest.approx(shared / int(masks[0].sum()))
    assert value(sparse, "mask_overlap_by_chance_uniform", "replicate 1") == pytest.approx(0.5, abs=1e-3)
    assert "mask_overlap_by_chance" not in set(rows["metric"])
    assert set(rows[rows["metric"] == "mask_overlap_by_chance_uniform"]["tensor"]) == {""}
    assert {"parent-child1", "parent-child2", "child1-child2"} == set(rows[rows["metric"] == "angle"]["against"])
    assert rows[rows["metric"] == "angle"]["value"].between(0, 180).all()


def test_rows_of_a_study_that_was_not_run_are_refused(work, tmp_path):
    study = work.folder / "tiny.yaml"
    assert "no dense family" in work.refused("per-example", study, "--by", "class", "--set", "seed=9")
    assert "no level" in work.refused("geometry", study, "--set", "seed=9")
    assert "unknown finished score" in work.refused("per-example", study, "--by", "quantile", "--score", "nope")
    assert "'.xlsx'" in work.refused("geometry", study, "--out", tmp_path / "g.xlsx")
