"""What arms take: sums that agree, examples that were shown, and what a diet saved by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.data.images import load_images
from ticketdiet.reports.accounting import account
from ticketdiet.reports.completeness import study_state
from ticketdiet.reports.phases import PHASES, needs_of
from ticketdiet.reports.stage_costs import StageCosts, energy_of
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.stages.child import Child
from ticketdiet.training.batches import ImageBatches

SEARCH = "{subset: {kind: easiest, size: 32, score: el2n}, steps: 8}"
SETTINGS = (
    "children=2",
    f"arms.diet@4={{pretrain: {{steps: 4}}, search: {SEARCH}}}",
    "arms.shuffled@4={pretrain: {steps: 4}, ticket: {mask: shuffled}}",
    "measure.metrics={dead_channels: {}}",
)
BATCH, STEPS, POINT, LEVELS = 16, 12, 4, 2
SCORING = 2 * 6  # steps of the networks of el2n
SUMS = ("stages", "done", "steps", "examples", "flops", "flops_kept", "seconds")


@pytest.fixture(scope="module")
def plan(plan_tiny):
    return plan_tiny(*SETTINGS)


@pytest.fixture(scope="module")
def store(tmp_path_factory, plan, run_tiny):
    store = ResultStore.open(tmp_path_factory.mktemp("accounting") / "store")
    run_tiny(plan, store)
    return store


@pytest.fixture(scope="module")
def found(plan, store):
    return account(plan, store)


def cell(found, arm, phase, name):
    rows = found.rows.set_index(["arm", "replicate", "phase"])
    return rows.loc[(arm, 0, phase), name]


def test_steps_of_every_phase_are_those_of_the_study_file(found):
    level, search = STEPS - POINT, 8 - POINT
    expected = {
        "none@0": {"pretraining": 0, "search": LEVELS * STEPS, "sparse_training": STEPS},
        "all@4": {"pretraining": POINT, "search": LEVELS * level, "sparse_training": level},
        "easiest32@4": {"scoring": SCORING, "pretraining": POINT, "search": 2 * level, "sparse_training": level},
        # Every density of a cheaper search is trained once more, so that all its levels are search.
        "diet@4": {"scoring": SCORING, "pretraining": POINT, "search": 3 * search, "sparse_training": 3 * level},
        # The dense level belongs to the search; the shuffled masks of the two others are trained once more.
        "shuffled@4": {"pretraining": POINT, "search": 3 * level, "sparse_training": 2 * level},
    }
    for arm, phases in expected.items():
        phases |= {"children": 2 * (STEPS - (0 if arm == "none@0" else POINT)), "measuring": 0}
        own = found.rows[found.rows["arm"] == arm].set_index("phase")
        assert own["steps"].to_dict() == {**phases, "all": sum(phases.values())}
        assert own["examples"].to_dict() == {phase: BATCH * steps for phase, steps in own["steps"].items()}


def test_phases_sum_to_the_arm_and_arms_without_what_they_share_to_the_study(found, plan):
    for name in SUMS:
        by_arm = found.rows.pivot(index="arm", columns="phase", values=name).fillna(0)
        assert np.allclose(by_arm[list(PHASES)].sum(axis=1), by_arm["all"])
        whole = by_arm["all"].sum() - getattr(found.shared, name)
        assert whole == pytest.approx(getattr(found.total, name))
    assert (found.total.stages, found.total.steps) == (len(plan.stages), plan.cost().steps)
    assert found.total.flops == plan.cost().flops


def test_every_stage_of_the_plan_is_needed_by_an_arm_in_one_phase(plan):
    needs = needs_of(plan)
    assert {stage.address for need in needs for stage in need.stages} == set(plan.stages)
    for need in needs:
        addresses = [stage.address for stage in need.stages]
        assert len(addresses) == len(set(addresses))


def test_a_score_is_counted_in_full_for_every_arm_that_uses_it(found):
    for arm in ("easiest32@4", "diet@4"):
        assert cell(found, arm, "scoring", "stages") == cell(found, arm, "scoring", "shared_stages") == 3
    assert found.shared.steps >= SCORING


def test_kept_weights_of_a_level_are_those_of_its_mask(found, plan, store):
    for stage in plan.stages.values():
        if stage.kind not in ("level", "sparse_training"):
            continue
        mask = store.tensors(stage.address, "mask")
        density = sum(int(kept.sum()) for kept in mask.values()) / sum(kept.numel() for kept in mask.values())
        kept = StageCosts(plan, store, study_state(plan, store)).of(stage).flops_kept
        by_layer = {name: float(tensor.float().mean()) for name, tensor in mask.items()}
        assert kept == pytest.approx(stage.network.training_flops(stage.cost.examples, by_layer), rel=1e-5)
        assert (kept == stage.cost.flops) == (density == 1)
    assert cell(found, "all@4", "pretraining", "flops_kept") == cell(found, "all@4", "pretraining", "flops")
    assert cell(found, "all@4", "children", "flops_kept") == cell(found, "all@4", "children", "flops")


def test_the_examples_of_every_training_are_those_that_it_recorded(plan, store):
    costs = StageCosts(plan, store, study_state(plan, store))
    trainings = [stage for stage in plan.stages.values() if stage.kind in ("pretrain", "level", "child")]
    for stage in trainings:
        recorded = store.document(stage.address, "facts")["unique_examples"]
        assert len(costs.shown(stage).indices) == recorded


def test_unique_examples_of_children_are_those_of_all_their_batches(plan, store, found):
    images = load_images("digits", limit=96).train
    children = [stage for stage in plan.of(Child) if any(use.arm == "easiest32@4" for use in stage.uses)]
    shown = set()
    for child in children:
        seeds = plan.stages[child.parent].seeds.child(child.child, child.vary)
        batches = ImageBatches(images, child.recipe, seeds)
        shown |= {int(index) for step in range(POINT, STEPS) for index in batches.batch(step).indices}
    assert cell(found, "easiest32@4", "children", "unique_examples") == len(shown)


def test_unique_examples_count_an_example_once(found):
    assert cell(found, "easiest32@4", "pretraining", "unique_examples") == 32
    assert cell(found, "all@4", "pretraining", "unique_examples") == POINT * BATCH
    assert cell(found, "easiest32@4", "scoring", "unique_examples") == 96  # every example is scored
    assert cell(found, "diet@4", "search", "unique_examples") == 32
    assert found.total.unique_examples == cell(found, "easiest32@4", "all", "unique_examples") == 96


def test_one_level_takes_what_leads_to_it(plan, store):
    found = account(plan, store, level=1)
    assert cell(found, "all@4", "search", "steps") == cell(found, "all@4", "sparse_training", "steps") == STEPS - POINT
    assert cell(found, "diet@4", "search", "steps") == 2 * (8 - POINT)
    assert "children" not in set(found.rows["phase"])  # they are of the dense network
    with pytest.raises(UserError, match="has a level 9"):
        account(plan, store, level=9)


@pytest.mark.parametrize("exists", [True, False])
def test_before_anything_ran_the_work_is_known_and_what_it_took_is_not(plan, tmp_path, exists):
    empty = account(plan, ResultStore.open(tmp_path / "empty") if exists else None)
    assert (empty.total.steps, empty.total.done) == (plan.cost().steps, 0)
    assert math.isnan(empty.total.seconds)
    assert math.isnan(empty.total.flops_kept)
    own = empty.rows.set_index(["arm", "phase"])["unique_examples"]
    assert own.loc["all@4", "pretraining"] == POINT * BATCH
    assert pd.isna(own.loc["easiest32@4", "pretraining"])  # its subset is not chosen yet


def test_savings_are_counted_from_the_arm_with_the_most_pretraining_on_all_data(found, plan_tiny, store):
    assert found.baseline == "all@4"
    saved = found.saved().set_index(["arm", "scope", "quantity"])
    easy = saved.loc["easiest32@4"]
    assert easy.loc[("pretraining", "unique_examples"), ["saved", "ratio"]].tolist() == [32, 0.5]
    assert easy.loc[("pretraining", "steps"), ["saved", "ratio", "n"]].tolist() == [0, 1, 1]
    assert easy.loc[("scoring+pretraining", "steps"), "saved"] == -SCORING
    assert easy.loc[("scoring+pretraining", "unique_examples"), "value"] == 96
    diet = saved.loc[("diet@4", "network", "steps")]
    plain = POINT + 3 * (STEPS - POINT)
    assert diet[["value", "baseline_value"]].tolist() == [SCORING + POINT + 3 * 4 + 3 * 8, plain]
    assert saved.loc[("none@0", "pretraining", "steps"), "ratio"] == 0
    assert math.isnan(found.saved("none@0").set_index(["arm", "quantity"]).loc[("all@4", "steps"), "ratio"].iloc[0])
    with pytest.raises(UnknownName, match="unknown arm 'nope'"):
        found.saved("nope")
    with pytest.raises(UserError, match="No arm of tiny pre-trains on all data"):
        account(plan_tiny("arms={none@0: {}}"), store).saved()


@pytest.mark.parametrize(
    ("energy", "joules", "estimated"),
    [
        (None, math.nan, False),
        ({}, math.nan, False),
        ({"package_joules": 8.0, "workers": 1}, 8.0, False),
        ({"package_joules": 8.0, "workers": 4, "gpu_joules": 3.0, "gpu_workers": 1}, 5.0, True),
        ({"gpu_joules": 3.0, "gpu_workers": 2}, 1.5, True),
        ({"package_joules": "8", "workers": 1}, math.nan, False),
    ],
)
def test_energy_is_divided_among_the_processes_that_shared_the_counter(energy, joules, estimated):
    found = energy_of({} if energy is None else {"energy": energy})
    assert found.joules == pytest.approx(joules, nan_ok=True)
    assert found.is_estimated == estimated


class TestCommand:
    @pytest.fixture
    def command(self, store, tmp_path, tiny_file):
        study, settings = str(tiny_file(tmp_path)), [word for setting in SETTINGS for word in ("--set", setting)]

        def run(*arguments):
            return CliRunner().invoke(app, ["cost", study, *settings, "--store", store.url, *arguments])

        return run

    def test_the_table_has_every_arm_the_totals_and_the_savings(self, command):
        shown = command()
        assert shown.exit_code == 0, shown.output
        text = " ".join(shown.stdout.split())
        assert "counted more than once" in text
        assert "the whole study" in text
        assert "saved beside all@4" in text
        assert "easiest32@4 pretraining 0 (1x) 0 (1x) 32 (0.5x)" in text
        assert "energy" not in text  # none was read

    def test_csv_has_the_rows_and_the_totals(self, command, found):
        lines = command("--format", "csv").stdout.splitlines()
        assert lines[0].startswith("study,arm,replicate,phase,shared_stages,stages,done,steps,examples,unique_examples")
        assert len(lines) == 1 + len(found.rows) + 2
        assert lines[-2].startswith("tiny,,,shared,")
        assert lines[-1].startswith(f"tiny,,,study,,{found.total.stages},{found.total.done},{found.total.steps},")

    def test_json_has_rows_totals_and_savings(self, command, found):
        document = json.loads(command("--format", "json", "--baseline", "none@0").stdout)
        assert len(document["rows"]) == len(found.rows)
        assert document["total"]["steps"] == found.total.steps
        assert document["total"]["joules"] is None
        assert {row["baseline"] for row in document["saved"]} == {"none@0"}

    def test_an_unknown_baseline_is_a_message(self, command):
        assert "unknown arm 'nope'" in str(command("--baseline", "nope").exception)
