"""What an arm may ask for beyond a subset: wrong labels, other pre-training, controls of the ticket."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.data.images import load_images
from ticketdiet.reports.reading import read_rows
from ticketdiet.reports.rows import final_rows
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import only_arms, parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.stages.level import Level

STUDY = """
study: options
dataset: {name: digits, limit: 96}
model: {name: resnet8, width: 4}
training: {steps: 10, batch_size: 16, lr: 0.05, crop_padding: 1, flip: false, precision: float32}
pruning: {fraction: 0.5, levels: 2}
measure: {gradient_agreement: true}
scores:
  el2n: {kind: el2n, models: 1, steps: 4}
  permuted: {kind: el2n, models: 1, steps: 4, permuted: true}
  loss: {kind: loss, models: 1, steps: 10}
arms:
  plain: {pretrain: {steps: 4}}
  noisy: {pretrain: {steps: 4}, label_noise: {fraction: 0.5}}
  noisy_all: {pretrain: {steps: 4}, label_noise: {fraction: 0.5, where: both, kind: pair_flip}}
  rotated: {pretrain: {steps: 4, objective: rotation}}
  passes:
    pretrain:
      passes: 2
      subset: {kind: random, size: 32, classes: [0, 1, 2, 3]}
      training: {batch_size: 8, lr: 0.2}
  shuffled: {pretrain: {steps: 4}, ticket: {mask: shuffled}}
  reinitialised: {pretrain: {steps: 4}, ticket: {weights: reinitialised}}
  signs: {pretrain: {steps: 4}, ticket: {weights: sign_only}}
  one_shot: {pretrain: {steps: 4}, ticket: {mask: magnitude}}
  chance: {pretrain: {steps: 4}, ticket: {mask: random}}
  erk: {pretrain: {steps: 4}, ticket: {mask: erk}}
  snip: {pretrain: {steps: 4}, ticket: {mask: snip, mask_options: {images: 20}}}
  synflow: {pretrain: {steps: 4}, ticket: {mask: synflow}}
  rates: {pretrain: {steps: 4}, ticket: {restart: learning_rate}}
  tuned: {pretrain: {steps: 4}, ticket: {restart: fine_tune}}
  tuned_at:
    {pretrain: {steps: 4}, training: {schedule: cosine}, ticket: {restart: fine_tune, restart_options: {lr: 0.02}}}
  hard_permuted: {pretrain: {steps: 4, subset: {kind: hardest, size: 32, score: permuted}}}
  hard: {pretrain: {steps: 4, evaluate_every: 2, subset: {kind: hardest, size: 32, score: el2n}}}
  like_hard: {pretrain: {steps: 4, subset: {kind: random, like: hard}}}
  spread: {pretrain: {steps: 4, subset: {kind: stratified, size: 32, strata: 4, score: loss}}}
  mixed: {pretrain: {steps: 4, subset: {kind: mixture, size: 32, mix: 0.25, score: loss}}}
  window: {pretrain: {steps: 4, subset: {kind: window, size: 32, offset: 8, score: loss}}}
  listed:
    pretrain: {steps: 4, subset: {kind: indices, indices: [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_tiny):
    store = ResultStore.open(tmp_path_factory.mktemp("options") / "store")
    plan = plan_study(parse_study(STUDY))
    run_tiny(plan, store)
    return plan, store, load_images("digits", limit=96).train


def stage_of(plan, kind, arm, level=-1):
    return next(
        s
        for s in plan.stages.values()
        if s.kind == kind and any(u.arm == arm and u.level == level and not u.through for u in s.uses)
    )


def weights_of(plan, store, kind, arm, level=-1):
    return store.tensors(stage_of(plan, kind, arm, level).address, "weights")


def subset_of(plan, store, arm):
    return store.tensors(stage_of(plan, "subset", arm).address, "subset")["indices"].numpy()


def test_every_arm_ends_with_an_accuracy_at_every_density(finished):
    plan, store, _ = finished
    found = final_rows(read_rows(plan, store)).groupby("arm")["density"].apply(lambda d: d.round(2).tolist())
    assert set(found.index) == set(plan.study.arms)
    assert all(densities == [1.0, 0.5, 0.25] for densities in found)


def test_noise_in_pre_training_alone_leaves_the_levels_labels_clean(finished):
    plan, _, _ = finished
    assert stage_of(plan, "pretrain", "noisy").label_noise.options["fraction"] == 0.5
    assert stage_of(plan, "level", "noisy", 0).label_noise is None
    assert stage_of(plan, "level", "noisy_all", 0).label_noise.kind == "pair_flip"


def test_the_exact_number_of_labels_is_wrong(finished):
    plan, store, _ = finished
    for arm in ("noisy", "noisy_all"):
        assert store.document(stage_of(plan, "pretrain", arm).address, "facts")["labels_changed"] == 48


def test_noise_changes_the_point(finished):
    plan, store, _ = finished
    head = _head(store, plan)
    plain, noisy = (weights_of(plan, store, "pretrain", arm)[head] for arm in ("plain", "noisy"))
    assert not torch.equal(plain, noisy)


def _head(store, plan):
    names = [n for n, w in weights_of(plan, store, "pretrain", "plain").items() if w.dim() == 2]
    return names[-1]


def test_after_rotation_the_head_is_as_initialised_and_the_body_is_not(finished):
    from ticketdiet.core.seeds import RunSeeds
    from ticketdiet.models.build import build_model

    plan, store, _ = finished
    seed = RunSeeds.of(0, 0).initialisation
    initial = build_model("resnet8", width=4, in_channels=1, image_size=8, seed=seed).state_dict()
    rotated = weights_of(plan, store, "pretrain", "rotated")
    head = _head(store, plan)
    assert torch.equal(rotated[head], initial[head])
    body = next(name for name, value in initial.items() if value.dim() == 4)
    assert not torch.equal(rotated[body], initial[body])
    rows = read_rows(plan, store)
    assert "train_rotated" in set(rows[rows.arm == "rotated"].split)


def test_passes_over_the_subset_become_steps(finished):
    plan, store, train = finished
    stage = stage_of(plan, "pretrain", "passes")
    assert stage.steps == 2 * (32 // 8)
    assert stage.recipe.lr == 0.2
    assert set(train.labels.numpy()[subset_of(plan, store, "passes")]) <= {0, 1, 2, 3}
    assert stage_of(plan, "level", "passes", 0).recipe.batch_size == 16


@pytest.mark.parametrize("arm", ["shuffled", "one_shot", "chance", "erk", "snip", "synflow", "reinitialised", "signs"])
@pytest.mark.parametrize("level", [1, 2])
def test_controls_keep_exactly_as_many_weights_as_the_ticket(finished, arm, level):
    plan, store, _ = finished
    ticket = store.document(stage_of(plan, "level", "plain", level).address, "facts")["kept"]
    assert store.document(stage_of(plan, "sparse_training", arm, level).address, "facts")["kept"] == ticket


def test_a_shuffled_mask_keeps_every_layers_density_and_moves_its_weights(finished):
    plan, store, _ = finished
    ours = store.tensors(stage_of(plan, "sparse_training", "shuffled", 2).address, "mask")
    ticket = store.tensors(stage_of(plan, "level", "plain", 2).address, "mask")
    assert all(ours[name].sum() == ticket[name].sum() for name in ticket)
    assert any(not torch.equal(ours[name], ticket[name]) for name in ticket)


def test_one_shot_keeps_the_largest_of_the_dense_run(finished):
    plan, store, _ = finished
    dense = weights_of(plan, store, "level", "plain", 0)
    mask = store.tensors(stage_of(plan, "sparse_training", "one_shot", 2).address, "mask")
    kept = torch.cat([dense[name][mask[name] == 1].abs() for name in mask])
    removed = torch.cat([dense[name][mask[name] == 0].abs() for name in mask])
    assert kept.min() >= removed.max()


def test_reinitialised_and_sign_only_tickets_have_the_tickets_mask(finished):
    plan, store, _ = finished
    ticket = store.tensors(stage_of(plan, "level", "plain", 2).address, "mask")
    for arm in ("reinitialised", "signs"):
        ours = store.tensors(stage_of(plan, "sparse_training", arm, 2).address, "mask")
        assert all(torch.equal(ours[name], ticket[name]) for name in ticket)


def test_controls_share_the_mask_search_of_the_plain_arm(finished):
    plan, _, _ = finished
    searches = [s for s in plan.stages.values() if s.kind == "level" and s.level == 2]
    sharing = next(s for s in searches if any(u.arm == "plain" for u in s.uses))
    assert {"shuffled", "reinitialised"} <= {use.arm for use in sharing.uses}


def test_controls_without_a_mask_search_plan_none():
    plan = plan_study(only_arms(parse_study(STUDY), ["one_shot", "chance", "erk", "snip", "synflow"]))
    assert {s.level for s in plan.of(Level)} == {0}


def test_points_are_evaluated_with_batch_norm_recalibrated_too(finished):
    from ticketdiet.models.build import build_model
    from ticketdiet.training.batch_norm import recalibrate
    from ticketdiet.training.evaluation import evaluate

    plan, store, train = finished
    model = build_model("resnet8", width=4, in_channels=1, image_size=8)
    model.load_state_dict(weights_of(plan, store, "pretrain", "plain"))
    recalibrate(model, train, batches=10, batch_size=250)
    rows = read_rows(plan, store)
    own = rows[(rows.arm == "plain") & (rows.metric == "accuracy_recalibrated") & (rows.split == "train")]
    assert own.value.iloc[0] == pytest.approx(evaluate(model, train).accuracy)


def test_other_restarts_share_level_0_and_differ_after(finished):
    plan, _, _ = finished
    for arm in ("rates", "tuned"):
        assert stage_of(plan, "level", arm, 0).address == stage_of(plan, "level", "plain", 0).address
        assert stage_of(plan, "level", arm, 1).address != stage_of(plan, "level", "plain", 1).address


def test_the_snip_control_looks_at_as_many_images_as_the_study_says(finished):
    from ticketdiet.models.build import build_model
    from ticketdiet.tickets.sensitivity import snip_mask

    plan, store, train = finished
    stage = stage_of(plan, "sparse_training", "snip", 1)
    model = build_model("resnet8", width=4, in_channels=1, image_size=8)
    model.load_state_dict(weights_of(plan, store, "pretrain", "snip"))
    found = store.tensors(stage.address, "mask")
    fraction = stage.kept / sum(kept.numel() for kept in found.values())
    expected = snip_mask(model, fraction, train, num_images=20, seed=stage.control_seed)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_fine_tuning_trains_at_the_rate_that_is_given(finished):
    from ticketdiet.core.seeds import RunSeeds
    from ticketdiet.models.build import build_model
    from ticketdiet.tickets.rewinding import rewind
    from ticketdiet.training.loop import train as train_network
    from ticketdiet.training.recipe import Recipe

    plan, store, train = finished
    mask = store.tensors(stage_of(plan, "level", "tuned_at", 1).address, "mask")
    model = rewind(
        build_model("resnet8", width=4, in_channels=1, image_size=8),
        weights_of(plan, store, "level", "tuned_at", 0),
        mask,
    )
    options: dict[str, Any] = {"crop_padding": 1, "flip": False, "precision": "float32"}
    recipe = Recipe(steps=10, batch_size=16, lr=0.02, schedule="constant", **options)
    own = train_network(model, train, recipe, seeds=RunSeeds.of(0, 0), start_step=4, mask=mask).weights
    stored = weights_of(plan, store, "level", "tuned_at", 1)
    assert all(torch.equal(stored[name], own[name]) for name in own)


def test_a_random_subset_like_another_has_its_class_counts(finished):
    plan, store, train = finished
    labels = train.labels.numpy()
    hard, like = (subset_of(plan, store, arm) for arm in ("hard", "like_hard"))
    np.testing.assert_array_equal(np.bincount(labels[hard], minlength=10), np.bincount(labels[like], minlength=10))
    assert not np.array_equal(hard, like)


def test_permuted_scores_hold_the_same_values_elsewhere(finished):
    plan, store, _ = finished
    scores = {
        name: store.tensors(stage_of(plan, "score", name).address, "scores")["matrix"] for name in ("el2n", "permuted")
    }
    assert torch.equal(scores["el2n"].sort().values, scores["permuted"].sort().values)
    assert not torch.equal(scores["el2n"], scores["permuted"])


def test_a_window_begins_at_its_offset(finished):
    plan, store, _ = finished
    losses = store.tensors(stage_of(plan, "score", "loss").address, "scores")["matrix"].mean(0).numpy()
    np.testing.assert_array_equal(np.sort(subset_of(plan, store, "window")), np.sort(np.argsort(losses)[8:40]))


def test_listed_indices_are_the_subset(finished):
    plan, store, _ = finished
    assert subset_of(plan, store, "listed").tolist() == list(range(16))


def test_the_subset_and_the_rest_are_evaluated_along_pre_training(finished):
    plan, store, _ = finished
    rows = read_rows(plan, store)
    own = rows[(rows.arm == "hard") & (rows.kind == "pretrain") & (rows.metric == "accuracy")]
    assert set(own.split) == {"train", "test", "subset", "rest"}
    assert sorted(set(own.step)) == [0, 2, 4]
    at_end = own[own.step == 4].set_index("split").value
    mean = (32 * at_end["subset"] + 64 * at_end["rest"]) / 96
    assert math.isclose(mean, at_end["train"], abs_tol=1e-9)


def test_evaluating_along_pre_training_leaves_the_point_as_it_is_to_the_bit(finished, run_tiny):
    plan, store, _ = finished
    study = parse_study(STUDY, ["arms.hard.pretrain.evaluate_every=0", "pruning.levels=0"])
    unwatched = plan_study(only_arms(study, ["hard"]))
    run_tiny(unwatched, store)
    assert stage_of(unwatched, "pretrain", "hard").address != stage_of(plan, "pretrain", "hard").address
    ours, theirs = (weights_of(p, store, "pretrain", "hard") for p in (plan, unwatched))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rows = read_rows(plan, store)
    at_end = rows[(rows.arm == "hard") & (rows.metric == "accuracy_recalibrated") & (rows.step == 4)]
    alone = read_rows(unwatched, store)
    alone = alone[(alone.kind == "pretrain") & (alone.metric == "accuracy_recalibrated")]
    for split in ("train", "test"):
        assert at_end[at_end.split == split].value.tolist() == alone[alone.split == split].value.tolist()


def test_agreement_of_gradients_is_measured_on_all_data_and_on_the_subset(finished):
    plan, store, _ = finished
    rows = read_rows(plan, store)
    own = rows[(rows.arm == "hard") & (rows.metric == "gradient_cosine")]
    assert sorted(own.split) == ["all", "subset"]
    assert own.value.between(-1, 1).all()


def test_scores_of_noisy_labels_are_judged_as_detectors_of_the_noise(tmp_path, run_tiny):
    study = parse_study(STUDY, ["label_noise={fraction: 0.3}", "scores.el2n.models=2", "scores.el2n.steps=10"])
    plan = plan_study(only_arms(study, ["hard"]).model_copy(update={"replicates": 1}))
    store = ResultStore.open(tmp_path / "store")
    run_tiny(plan, store)
    rows = read_rows(plan, store)
    found = rows[rows.kind == "score"].set_index("metric").value
    assert set(found.index) == {"noise_auroc", "noise_precision"}
    assert 0 <= found["noise_precision"] <= 1
    facts = store.document(stage_of(plan, "score", "el2n").address, "facts")
    assert facts["made_by"]["label_noise"]["options"]["fraction"] == 0.3
    assert facts["made_by"]["batch_norm"] == "recalibrate"


def test_pre_training_on_other_images_of_the_same_shape(finished, tmp_path, run_tiny):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "other.npz",
        x_train=rng.integers(0, 256, (64, 8, 8), dtype=np.uint8),
        y_train=np.arange(64) % 10,
        x_test=rng.integers(0, 256, (20, 8, 8), dtype=np.uint8),
        y_test=np.arange(20) % 10,
    )
    study = parse_study(
        STUDY, [f"arms.plain.pretrain.dataset={{name: 'npz:{tmp_path}/other.npz'}}", "pruning.levels=0"]
    )
    plan = plan_study(only_arms(study, ["plain"]))
    store = ResultStore.open(tmp_path / "store")
    run_tiny(plan, store)
    point, dense = stage_of(plan, "pretrain", "plain"), stage_of(plan, "level", "plain", 0)
    assert point.data != dense.data
    assert len(final_rows(read_rows(plan, store))) == 1


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("arms.plain.pretrain.dataset={name: digits, resolution: 4}", DataError, r"\(1, 4, 4\)"),
        ("arms.passes.pretrain.subset.classes=[3, 11]", DataError, "class 11"),
        ("arms.passes.pretrain.subset.classes=[3]", DataError, r"32 of \d+ training examples"),
        ("arms.listed.pretrain.subset.indices=[0, 96]", DataError, "example 96"),
        ("arms.like_hard.pretrain.subset.like=plain", StudyError, "pre-trains on everything"),
        ("arms.passes.pretrain.passes=99", StudyError, "k <= T"),
        ("arms.like_hard.pretrain.subset.like=nobody", StudyError, "nobody"),
        ("arms.plain.ticket.mask=best", StudyError, r"arms\.plain\.ticket: mask is 'best'"),
        ("arms.plain.label_noise={kind: file}", StudyError, "path"),
        ("arms.plain.label_noise={fraction: 1.5}", StudyError, "label_noise.fraction"),
        ("arms.plain.label_noise={kind: file, path: /nowhere.npy}", DataError, "/nowhere.npy"),
        ("scores.el2n={kind: file, path: /nowhere.npy}", DataError, "/nowhere.npy"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_runs(setting, error, message):
    with pytest.raises(error, match=message):
        plan_study(parse_study(STUDY, [setting]))
