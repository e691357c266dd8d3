"""What replicates share and what each has of its own: scores, wrong labels, the point without pre-training, counts."""

import numpy as np
import pytest
import torch

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.data.images import load_images
from ticketdiet.landscape.gradient_agreement import gradient_agreement
from ticketdiet.models.build import build_model
from ticketdiet.reports.diet_report import read_scores, read_subset
from ticketdiet.reports.drawing import draw_figures
from ticketdiet.reports.per_example_report import example_rows, first_rows, group_rows
from ticketdiet.reports.reading import read_rows, read_study
from ticketdiet.store.results import ResultStore
from ticketdiet.training.batch_norm import recalibrated
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.recipe import Recipe

EXAMPLES = 96
SETTINGS = (
    f"dataset.limit={EXAMPLES}",
    "training.steps=10",
    "training.batch_size=14",
    "pruning.levels=0",
    "replicates=2",
    "children=2",
    "measure={gradient_agreement: true}",
    "label_noise={fraction: 0.5, per_replicate: true}",
    "scores.el2n={models: 2, steps: 4, per_replicate: true}",
    "scores.shared={models: 1, steps: 4, labels: clean}",
    "arms={none@0: {training: {precision: bfloat16}}, all@8: {pretrain: {steps: 8}}}",
    "arms.easy@4={pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: el2n}}}",
    "arms.even@4={pretrain: {steps: 4, subset: {kind: easiest, size: 40, score: shared, balanced: true}}}",
    "arms.three@4={pretrain: {steps: 4, subset: {kind: random, size: 20, classes: [1, 2, 3], balanced: true}}}",
    "arms.like@4={pretrain: {steps: 4, subset: {kind: random, like: easy@4}}}",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, plan_tiny, run_tiny):
    store = ResultStore.open(tmp_path_factory.mktemp("own") / "store")
    plan = plan_tiny(*SETTINGS)
    run_tiny(plan, store)
    return plan, store, load_images("digits", limit=EXAMPLES).train


def stage_of(plan, kind, arm, replicate=0, level=-1):
    uses = (arm, replicate, level)
    return next(
        s for s in plan.stages.values() if s.kind == kind and uses in {(u.arm, u.replicate, u.level) for u in s.uses}
    )


def seen_labels(plan, train, arm, replicate):
    """The labels that pre-training sees, drawn again from the seed that its stage records."""
    noise = stage_of(plan, "pretrain", arm, replicate).label_noise
    return noise.apply(train.labels.numpy(), 10, None).labels


def test_the_subset_of_each_replicate_is_the_easiest_by_its_own_scores(finished):
    plan, store, _ = finished
    scores = [read_scores(plan, store, "el2n", replicate) for replicate in (0, 1)]
    assert not np.array_equal(scores[0].matrix, scores[1].matrix)
    for replicate in (0, 1):
        chosen = read_subset(plan, store, "easy@4", replicate)
        values, inside = scores[replicate].mean, np.isin(np.arange(EXAMPLES), chosen.indices)
        assert values[inside].max() <= values[~inside].min()
        assert np.array_equal(chosen.scores.matrix, scores[replicate].matrix)
        assert scores[replicate].provenance["replicate"] == replicate
    assert "replicate" not in read_scores(plan, store, "shared", 1).provenance


def test_each_replicates_scores_are_judged_by_its_own_wrong_labels(finished):
    from sklearn.metrics import roc_auc_score

    plan, store, train = finished
    rows = read_rows(plan, store)
    found = rows[(rows.arm == "el2n") & (rows.metric == "noise_auroc")].set_index("replicate").value
    for replicate in (0, 1):
        changed = seen_labels(plan, train, "all@8", replicate) != train.labels.numpy()
        own = read_scores(plan, store, "el2n", replicate).mean
        assert found[replicate] == pytest.approx(roc_auc_score(changed, own))


def test_each_replicate_has_other_wrong_labels_and_equally_many(finished):
    plan, store, train = finished
    first, second = (seen_labels(plan, train, "all@8", replicate) for replicate in (0, 1))
    assert (first != second).any()
    for replicate in (0, 1):
        facts = store.document(stage_of(plan, "pretrain", "all@8", replicate).address, "facts")
        assert facts["labels_changed"] == EXAMPLES // 2


@pytest.mark.parametrize("replicate", [0, 1])
def test_a_balanced_subset_is_balanced_in_the_labels_that_pre_training_sees(finished, replicate):
    plan, store, train = finished
    seen = seen_labels(plan, train, "even@4", replicate)
    chosen = read_subset(plan, store, "even@4", replicate).indices
    counts = np.bincount(seen[chosen], minlength=10)
    assert counts.tolist() == [4] * 10
    assert np.bincount(train.labels.numpy()[chosen], minlength=10).tolist() != [4] * 10
    scores = read_scores(plan, store, "shared").mean
    for label in range(10):  # the four easiest of each class as seen
        own = np.flatnonzero(seen == label)
        assert scores[np.intersect1d(own, chosen)].max() <= np.sort(scores[own])[3]


def test_where_classes_are_named_they_and_their_balance_are_those_of_the_labels_as_they_came(finished):
    plan, store, train = finished
    chosen = read_subset(plan, store, "three@4").indices
    assert np.bincount(train.labels.numpy()[chosen]).tolist() in ([0, 7, 7, 6], [0, 7, 6, 7], [0, 6, 7, 7])


def test_a_subset_like_another_has_its_counts_in_the_labels_that_pre_training_sees(finished):
    plan, store, train = finished
    for replicate in (0, 1):
        seen = seen_labels(plan, train, "like@4", replicate)
        ours, theirs = (read_subset(plan, store, arm, replicate).indices for arm in ("like@4", "easy@4"))
        assert np.bincount(seen[ours], minlength=10).tolist() == np.bincount(seen[theirs], minlength=10).tolist()


def test_the_point_without_pre_training_is_evaluated_in_the_precision_of_the_arms_training(finished):
    plan, store, train = finished
    rows = read_rows(plan, store)
    own = rows[(rows.arm == "none@0") & (rows.kind == "pretrain") & (rows.replicate == 0) & (rows.split == "train")]
    measured = own.set_index("metric").value
    seed = RunSeeds.of(0, 0).initialisation
    model = build_model("resnet8", width=4, in_channels=1, image_size=8, seed=seed)
    losses = {precision: evaluate(model, train, precision=precision).loss for precision in ("bfloat16", "float32")}
    assert measured["loss"] == pytest.approx(losses["bfloat16"], abs=1e-9)
    assert losses["bfloat16"] != losses["float32"]
    with recalibrated(model, train, precision="bfloat16"):
        expected = evaluate(model, train, precision="bfloat16").loss
    assert measured["loss_recalibrated"] == pytest.approx(expected, abs=1e-9)


def test_the_point_without_pre_training_has_its_row_of_gradient_agreement(finished):
    plan, store, train = finished
    rows = read_rows(plan, store)
    own = rows[(rows.metric == "gradient_cosine") & (rows.arm == "none@0")]
    assert sorted(zip(own.replicate, own.split, own.step, strict=True)) == [(0, "all", 0), (1, "all", 0)]
    model = build_model("resnet8", width=4, in_channels=1, image_size=8, seed=RunSeeds.of(0, 1).initialisation)
    noisy = type(train)(
        train.pixels,
        torch.from_numpy(seen_labels(plan, train, "none@0", 1)),
        train.class_names,
        train.mean,
        train.std,
    )
    everything = {"all": np.arange(EXAMPLES)}
    (expected,) = gradient_agreement(model, noisy, everything, batch_size=14, precision="bfloat16")
    assert own[own.replicate == 1].value.item() == pytest.approx(expected.mean_cosine, abs=1e-9)
    assert expected.batch_norm == "recalibrate"


def test_unique_examples_are_counted_from_the_batches(finished):
    plan, store, train = finished
    recipe = Recipe(steps=10, batch_size=14, lr=0.05, crop_padding=1, flip=False, precision="float32")
    expected = {}
    for kind, arm, steps, level in (
        ("pretrain", "all@8", range(8), -1),
        ("pretrain", "easy@4", range(4), -1),
        ("pretrain", "none@0", range(0), -1),
        ("level", "all@8", range(8, 10), 0),
        ("child", "all@8", range(8, 10), 0),
    ):
        examples = read_subset(plan, store, arm).indices if arm == "easy@4" else None
        seeds = RunSeeds.of(0, 0)
        batches = ImageBatches(train, recipe, seeds.child(1) if kind == "child" else seeds, examples)
        expected[kind, arm] = len({int(i) for step in steps for i in batches.batch(step).indices})
        facts = store.document(stage_of(plan, kind, arm, level=level).address, "facts")
        assert facts["unique_examples"] == expected[kind, arm], (kind, arm)
        assert facts["examples_seen"] == 14 * len(steps)
    # 6 batches of 14 per pass drop 12 of 96; two of 14 drop 4 of 32: less than the number of examples shown says.
    assert expected["pretrain", "all@8"] < 96
    assert expected["pretrain", "easy@4"] <= 32


def test_single_examples_stand_beside_the_scores_of_their_familys_replicate(finished):
    plan, store, _ = finished
    rows = example_rows(plan, store)
    for replicate in (0, 1):
        own = rows[(rows.arm == "easy@4") & (rows.replicate == replicate)]
        assert own["score_el2n"].to_numpy() == pytest.approx(read_scores(plan, store, "el2n", replicate).mean)
        assert own["score_shared"].to_numpy() == pytest.approx(read_scores(plan, store, "shared").mean)
    groups = group_rows(plan, store, "quantile", score="el2n", quantiles=4)
    for replicate in (0, 1):
        own = groups[(groups.arm == "easy@4") & (groups.replicate == replicate)]
        assert own["high"].max() == pytest.approx(read_scores(plan, store, "el2n", replicate).mean.max())
    first = first_rows(plan, store)
    assert set(first["replicate"]) == {0, 1}


def test_figures_draw_the_scores_of_replicate_0_and_say_so(finished):
    plan, store, _ = finished
    drawn = dict(draw_figures(read_study(plan, store)))
    for name in ("diet_el2n", "barrier_against_el2n"):
        assert "replicate 0" in str(drawn[name].get_suptitle()), name
    for name in ("diet_shared", "barrier_against_shared"):
        assert "replicate" not in str(drawn[name].get_suptitle()), name
