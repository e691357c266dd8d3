"""A mask search on less than everything: its levels are on the way, and the arm reports trainings on all images."""

import pytest
import torch

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.data.images import load_images
from ticketdiet.models.build import build_model
from ticketdiet.reports.reading import read_rows
from ticketdiet.reports.rows import final_rows
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.network import Cost
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.metric import MetricStage
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.sparse_training import SparseTraining
from ticketdiet.studies.stages.subset import Subset
from ticketdiet.tickets.pruning import prune
from ticketdiet.training.evaluation import evaluate

LEVELS = range(3)
SEARCH = "arms.all@4.search={subset: {kind: easiest, size: 32, score: el2n}, steps: 8, training: {lr: 0.1}}"
ALONE = ("arms={all@4: {pretrain: {steps: 4}}}",)


def used_by(plan, kind, arm):
    return [stage for stage in plan.of(kind) if any(use.arm == arm for use in stage.uses)]


def labels_of(level):
    return None if level.label_noise is None else level.label_noise.seed


def test_without_the_key_nothing_changes(plan_tiny):
    assert list(plan_tiny("arms.all@4.search=null").stages) == list(plan_tiny().stages)
    assert plan_tiny().of(SparseTraining) == []


def test_a_search_like_training_is_that_of_the_plain_arm_and_each_density_is_trained_once_more(plan_tiny):
    plan = plan_tiny("arms.searched@4={pretrain: {steps: 4}, search: {}}")
    plain, searched = used_by(plan, Level, "all@4"), used_by(plan, Level, "searched@4")
    assert [level.address for level in searched] == [level.address for level in plain]
    assert len(plan.stages) == len(plan_tiny().stages) + len(LEVELS)


def test_the_levels_of_the_search_train_on_what_it_says_and_are_on_the_way(plan_tiny):
    plan = plan_tiny(*ALONE, SEARCH)
    (subset,), levels = plan.of(Subset), plan.of(Level)
    assert [level.level for level in levels] == list(LEVELS)
    assert (subset.rule, subset.size) == ("easiest", 32)
    for level in levels:
        assert level.subset == subset.address
        assert (level.recipe.steps, level.recipe.lr, level.recipe.batch_size) == (8, 0.1, 16)
        assert level.recipe.milestone_steps() == (4, 6)  # the schedule is as long as the search
        assert [(use.arm, use.through) for use in level.uses] == [("all@4", True)]
    (point,) = plan.of(Pretrain)
    assert point.subset is None


def test_other_images_of_the_search_are_those_of_its_levels_alone(plan_tiny):
    plan = plan_tiny(*ALONE, "arms.all@4.search={dataset: {name: digits, limit: 64, seed: 3}}")
    for level in plan.of(Level):
        assert (level.dataset.limit, level.dataset.seed) == (64, 3)
        assert level.data != plan.of(Pretrain)[0].data
    for stage in (*plan.of(Pretrain), *plan.of(SparseTraining)):
        assert (stage.dataset, stage.dataset.limit) == (plan.study.dataset, 96)


@pytest.mark.parametrize("where", ["pretraining", "training", "both"])
def test_the_labels_of_the_search_are_those_of_the_phase_that_it_names(plan_tiny, where):
    noise = f"label_noise={{fraction: 0.5, where: {where}}}"
    seen = {}
    for labels in ("as_training", "as_pretraining", "clean"):
        plan = plan_tiny("scores={}", *ALONE, noise, f"arms.all@4.search={{labels: {labels}}}")
        assert len(seen.setdefault(labels, {labels_of(level) for level in plan.of(Level)})) == 1
        training = {labels_of(stage) for stage in plan.of(SparseTraining)}
        pretraining = {labels_of(stage) for stage in plan.of(Pretrain)}
    assert seen == {"as_training": training, "as_pretraining": pretraining, "clean": {None}}


def test_every_density_has_a_training_on_all_images_under_the_mask_of_its_level(plan_tiny):
    plan = plan_tiny(*ALONE, SEARCH)
    levels, trainings, arm = plan.of(Level), plan.of(SparseTraining), plan.study.arm("all@4")
    assert [training.level for training in trainings] == [level.address for level in levels]
    for number, training in enumerate(trainings):
        assert (training.mask, training.weights, training.kept) == ("imp", "rewound", None)
        assert training.recipe == arm.training
        assert training.point == levels[0].point
        assert training.subset_address is None
        assert training.data == plan.of(Pretrain)[0].data
        assert [(use.arm, use.level, use.through) for use in training.uses] == [("all@4", number, False)]


def test_controls_of_a_cheaper_search_are_trained_at_every_density_too(plan_tiny):
    for ticket in ("{mask: shuffled}", "{weights: reinitialised}"):
        plan = plan_tiny(*ALONE, SEARCH, f"arms.all@4.ticket={ticket}")
        assert [training.level for training in plan.of(SparseTraining)] == [level.address for level in plan.of(Level)]


def test_families_and_successive_levels_are_of_what_the_arm_reports(plan_tiny):
    plan = plan_tiny(*ALONE, SEARCH, "children=2", "measure={levels: [0, 2], successive_levels: true}")
    trainings = [training.address for training in plan.of(SparseTraining)]
    barriers = [list(stage.networks.values()) for stage in plan.of(BarrierStage)]
    assert [networks[0] for networks in barriers if len(networks) == 3] == [trainings[0], trainings[2]]
    assert [networks for networks in barriers if len(networks) == 2] == [trainings[:2], trainings[1:]]
    assert {child.parent for child in plan.of(Child)} == {trainings[0], trainings[2]}


def test_metrics_are_of_what_the_arm_reports(plan_tiny):
    plan = plan_tiny(*ALONE, SEARCH, "measure.metrics={distance: {}}")
    assert [stage.of for stage in plan.of(MetricStage)] == [training.address for training in plan.of(SparseTraining)]


def test_the_cost_is_that_of_the_search_and_of_the_trainings(plan_tiny):
    plan = plan_tiny("scores={}", *ALONE, "arms.all@4.search={steps: 8}")
    parts = [sum((stage.cost for stage in plan.of(kind)), Cost()) for kind in (Pretrain, Level, SparseTraining)]
    assert [part.steps for part in parts] == [4, 3 * (8 - 4), 3 * (12 - 4)]
    assert plan.cost() == sum(parts, Cost())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["arms.all@4.search={}", "arms.all@4.ticket={mask: random}"], StudyError, "search has no effect on mask 'ra"),
        (["arms.all@4.search={}", "arms.all@4.ticket={mask: snip}"], StudyError, "give ticket.mask: imp"),
        (["arms.all@4.search={steps: 3}"], StudyError, "the search has 3 steps"),
        (["arms.all@4.search={steps: 0}"], StudyError, r"search\.steps"),
        (["arms.all@4.search={training: {lr: -1}}"], StudyError, r"arms\.all@4\.search\.training\.lr"),
        (["arms.all@4.search={training: {pace: 1}}"], StudyError, r"arms\.all@4\.search\.training\.pace: unknown key"),
        (["arms.all@4.search={labels: wrong}"], StudyError, r"search\.labels"),
        (["arms.all@4.search={subset: {kind: random, size: 8}}"], DataError, r"search\.subset has 8 examples"),
        (["arms.all@4.search={subset: {kind: random, size: 97}}"], DataError, r"search\.subset asks for 97 of 96"),
        (["arms.all@4.search={subset: {kind: easiest, size: 32, score: x}}"], StudyError, "search.subset.score is 'x'"),
        (["arms.all@4.search={subset: {kind: random, like: x}}"], StudyError, "search.subset.like is 'x'"),
        (["arms.all@4.search={dataset: {name: digits, resolution: 4}}"], DataError, r"search\.dataset has"),
        (
            ["arms.all@4.search={dataset: {name: digits, limit: 64}, subset: {kind: easiest, size: 32, score: el2n}}"],
            StudyError,
            r"search\.dataset by scores of other images",
        ),
        (
            ["arms.all@4={ticket: {restart: fine_tune}, search: {training: {schedule: cosine}}}"],
            StudyError,
            r"ticket\.restart_options\.lr",
        ),
    ],
)
def test_a_search_that_does_not_fit_is_refused_before_anything_runs(plan_tiny, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        plan_tiny(*settings)
    assert caught.value.exit_code == 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory, plan_tiny, run_tiny):
    plan = plan_tiny(*ALONE, SEARCH, "children=2", "measure={levels: [0, 1], successive_levels: true}")
    store = ResultStore.open(tmp_path_factory.mktemp("searched") / "store")
    run_tiny(plan, store)
    return plan, store


def test_the_arm_reports_the_trainings_on_all_images_alone(finished):
    plan, store = finished
    rows = read_rows(plan, store)
    own = rows[rows.arm == "all@4"]
    assert set(own.kind) == {"pretrain", "sparse_training", "child", "barrier"}
    final = final_rows(rows)
    assert final.address.tolist() == [stage.address for stage in plan.of(SparseTraining)]
    assert final.density.round(2).tolist() == [1.0, 0.5, 0.25]
    model, test = build_model("resnet8", width=4, in_channels=1, image_size=8), load_images("digits", limit=96).test
    for address, value in zip(final.address, final.value, strict=True):
        assert value == pytest.approx(evaluate(model, test, weights=store.tensors(address, "weights")).accuracy)


def test_masks_are_those_of_the_search_and_it_saw_its_subset_alone(finished):
    plan, store = finished
    levels, trainings = plan.of(Level), plan.of(SparseTraining)
    for level, training in zip(levels, trainings, strict=True):
        mask, expected = (store.tensors(stage.address, "mask") for stage in (training, level))
        assert all(torch.equal(mask[name], expected[name]) for name in expected)
        assert store.document(level.address, "facts")["unique_examples"] <= 32
        assert store.document(training.address, "facts")["unique_examples"] > 32
    pruned = prune(store.tensors(levels[0].address, "weights"), store.tensors(levels[0].address, "mask"), 0.5)
    mask = store.tensors(trainings[1].address, "mask")
    assert all(torch.equal(mask[name], pruned[name]) for name in pruned)


def test_barriers_are_measured_around_the_trainings_on_all_images(finished):
    plan, store = finished
    rows = read_rows(plan, store)
    family = rows[(rows.metric == "barrier_mean") & (rows.split == "train") & (rows.pair == "family")]
    assert family.level.tolist() == [0, 1]
    successive = rows[(rows.metric == "barrier_mean") & (rows.split == "train") & rows.pair.str.startswith("level")]
    assert successive.pair.tolist() == ["level00-level01", "level01-level02"]
