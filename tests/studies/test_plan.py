import hashlib
from typing import Any

import numpy as np
import pytest

from ticketdiet.core.errors import DataError, StudyError, UnknownName, UserError
from ticketdiet.studies.load import load_spec, only_arms, parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.catalog import KINDS
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score_model import ScoreModel
from ticketdiet.tickets.criteria import Snip
from ticketdiet.tickets.sensitivity import SNIP_IMAGES


def kinds(plan):
    return [stage.kind for stage in plan.stages.values()]


def by_use(plan, kind, arm, replicate=0, level=-1):
    return next(
        s
        for s in plan.stages.values()
        if s.kind == kind and any((u.arm, u.replicate, u.level) == (arm, replicate, level) for u in s.uses)
    )


def test_every_stage_comes_after_its_inputs(plan_tiny):
    seen = set()
    for address, stage in plan_tiny("children=2", "replicates=2").stages.items():
        assert seen.issuperset(stage.inputs.values())
        assert address == stage.address
        seen.add(address)


def test_a_study_has_the_stages_that_its_text_says(plan_tiny):
    found = kinds(plan_tiny())
    assert {kind: found.count(kind) for kind in set(found)} == {
        "score_model": 2,
        "score": 1,
        "subset": 1,
        "pretrain": 3,
        "level": 9,
    }


def test_planning_twice_gives_the_same_addresses(plan_tiny):
    assert list(plan_tiny("children=2").stages) == list(plan_tiny("children=2").stages)


def test_the_stages_of_a_kind_are_those_of_its_class_and_of_what_is_derived_from_it(every_kind):
    plan = every_kind
    for name, kind in KINDS.items():
        assert [stage.kind for stage in plan.of(kind)] == [name] * kinds(plan).count(name)
    assert {stage.kind for stage in plan.of(MaskedTraining)} == {"level", "sparse_training"}
    assert [stage.address for stage in plan.of(Level)] == [a for a, s in plan.stages.items() if s.kind == "level"]


def test_golden_addresses(every_kind):
    stages = list(every_kind.stages.values())
    assert set(GOLDEN) == set(KINDS)
    assert hashlib.sha256("".join(stage.address for stage in stages).encode()).hexdigest()[:16] == GOLDEN_ALL
    first = {kind: next(s.address for s in stages if s.kind == kind) for kind in GOLDEN}
    assert first == GOLDEN


GOLDEN_ALL = "910d83c900f4fa00"
GOLDEN: dict[str, str] = {
    "score_model": "b08aee0be2743657d23afe5a",
    "given_score": "d20e567a672876ba9fdd6e72",
    "score": "889891badef7d16858142d4b",
    "subset": "29f3eec839c2b9768737a69d",
    "pretrain": "f0c18a464b0d5a00fbd74128",
    "level": "f08e897d66ad9ff760a2674a",
    "sparse_training": "0490073c183d290792d14c07",
    "child": "727c370c6b30dbff552dce1c",
    "barrier": "bbe457a18a6bf3b8b0306d88",
    "metric": "8e3936926e750d28f302b40d",
}


@pytest.mark.parametrize(
    "setting",
    [
        "seed=1",
        "training.lr=0.06",
        "training.weight_decay=0",
        "model.width=5",
        "dataset.limit=97",
        "training.flip=true",
        "training.precision=bfloat16",
        "training.label_smoothing=0.1",
        "training.momentum=0.5",
        "training.gamma=0.2",
        "model.initialisation=paper",
    ],
)
def test_what_can_change_a_number_changes_the_addresses(plan_tiny, setting):
    assert set(plan_tiny("arms.all@4.pretrain.steps=5").stages) != set(plan_tiny().stages)
    changed = plan_tiny(setting)
    assert by_use(changed, "level", "all@4", level=0).address != by_use(plan_tiny(), "level", "all@4", level=0).address


@pytest.mark.parametrize("setting", ["study=other", "description=words", "training.milestones=[6, 9]"])
def test_what_cannot_change_a_number_does_not(plan_tiny, setting):
    assert list(plan_tiny(setting).stages) == list(plan_tiny().stages)


SNIP = "arms.all@4.ticket={mask: snip, mask_options: {%s}}"


def control(plan):
    return next(stage for stage in plan.stages.values() if stage.kind == "sparse_training")


def test_the_images_of_snip_are_part_of_its_own_stages_alone(plan_tiny):
    default, named, few, every = (
        control(plan_tiny(SNIP % more)) for more in ("", "images: 128", "images: 40", "images: all")
    )
    assert default.address == named.address
    assert len({named.address, few.address, every.address}) == 3
    assert (default.mask_options, few.mask_options) == ({"images": 128}, {"images": 40})
    assert "images" not in control(plan_tiny("arms.all@4.ticket={mask: synflow}")).mask_options


def test_the_default_number_of_images_of_snip_is_that_of_the_python_function():
    assert Snip().options.images == SNIP_IMAGES


def test_a_rate_of_fine_tuning_is_part_of_the_levels_that_it_trains(plan_tiny):
    def levels(more):
        plan = plan_tiny("training.schedule=cosine", f"arms.all@4.ticket={{restart: fine_tune{more}}}")
        return [by_use(plan, "level", "all@4", level=number).address for number in range(3)]

    slow, fast = levels(", restart_options: {lr: 0.001}"), levels(", restart_options: {lr: 0.01}")
    assert slow[0] == fast[0]
    assert not set(slow[1:]) & set(fast[1:])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["training.schedule=cosine", "arms.all@4.ticket={restart: fine_tune}"],
            r"give arms\.all@4\.ticket\.restart_options\.lr",
        ),
        (["arms.all@4.ticket={restart_options: {lr: 0.1}}"], r"all@4\.ticket: .*'weights' has no option 'lr'"),
        (["arms.all@4.ticket={restart: fine_tune, restart_options: {lr: 0}}"], "got 0 for its option 'lr'"),
        (["arms.all@4.ticket={mask: erk, mask_options: {images: 40}}"], "criterion 'erk' has no option 'images'"),
        (["arms.all@4.ticket={mask_options: {images: 40}}"], "mask_options has no effect on mask 'imp'"),
        (["arms.all@4.ticket={mask: best}"], "mask is 'best'; expected one of: imp, shuffled, erk, magnitude"),
        ([SNIP % "images: 0"], "got 0 for its option 'images'"),
        ([SNIP % "images: some"], "got 'some' for its option 'images'"),
        (["training.milestones=[0.5, 6]"], "both step 6"),
        (["training.milestones=[3000.0]"], "has a point"),
    ],
)
def test_keys_of_tickets_and_milestones_that_mean_nothing_are_refused(plan_tiny, settings, message):
    with pytest.raises(StudyError, match=message) as caught:
        plan_tiny(*settings)
    assert caught.value.exit_code == 2


def test_more_levels_keep_the_first(plan_tiny):
    assert set(plan_tiny().stages) < set(plan_tiny("pruning.levels=5").stages)


def test_more_replicates_keep_the_first(plan_tiny):
    assert set(plan_tiny().stages) < set(plan_tiny("replicates=2").stages)


def test_arms_of_equal_work_share_their_stages(plan_tiny):
    plan = plan_tiny("arms.easiest32@4.pretrain.subset={kind: all}")
    shared = by_use(plan, "level", "all@4", level=2)
    assert {use.arm for use in shared.uses} == {"all@4", "easiest32@4"}


def test_a_subset_of_zero_steps_makes_no_difference(plan_tiny):
    plan = plan_tiny("arms.easiest32@4.pretrain.steps=0")
    assert "subset" not in kinds(plan)
    assert by_use(plan, "pretrain", "easiest32@4").address == by_use(plan, "pretrain", "none@0").address


def test_data_enter_by_content_and_not_by_path(tmp_path):
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x_train": rng.integers(0, 256, (64, 8, 8), dtype=np.uint8),
        "y_train": np.arange(64) % 4,
        "x_test": rng.integers(0, 256, (16, 8, 8), dtype=np.uint8),
        "y_test": np.arange(16) % 4,
    }
    addresses = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "data.npz", **arrays)
        study = load_spec("quickstart", [f"dataset.name=npz:{tmp_path / folder / 'data.npz'}"])
        addresses.append(list(plan_study(only_arms(study, ["none@0", "all@20"])).stages))
    assert addresses[0] == addresses[1]


def test_cost_counts_steps_and_examples(plan_tiny):
    cost = plan_tiny().cost()
    assert cost.steps == 2 * 6 + 2 * 4 + 3 * (12 + 8 + 8)
    assert cost.examples == 16 * cost.steps
    assert cost.flops > 0


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("arms.easiest32@4.pretrain.subset.size=97", DataError, "97 of 96 training examples"),
        ("arms.easiest32@4.pretrain.subset.size=15", DataError, r"15 examples, but a batch has 16"),
        (
            "arms.easiest32@4.pretrain.subset={kind: window, size: 32, offset: 65}",
            DataError,
            "a window from rank 65 to 97 of 96 candidates",
        ),
        ("arms.easiest32@4.pretrain.subset.kind=easyest", UnknownName, "easiest"),
        ("scores.el2n.kind=el2m", UnknownName, "el2n"),
        ("scores.el2n.steps=13", StudyError, r"scores\.el2n\.steps is 13"),
        ("scores.el2n={kind: forgetting, steps: 0}", StudyError, "in 0 steps of 16 it does not see all 96"),
        ("scores.el2n={kind: aum, steps: 5}", StudyError, "in 5 steps of 16 it does not see all 96"),
        ("model.name=resnet21", UnknownName, "resnet20"),
        ("dataset.name=digitz", UnknownName, "digits"),
        ("pruning.ignore=[fc.weight2]", UserError, "fc.weight2"),
        ("dataset.name=npz:/nowhere.npz", DataError, "/nowhere.npz"),
        ("dataset.resolution=3", DataError, "3"),
    ],
)
def test_a_study_that_does_not_fit_is_refused_before_anything_runs(plan_tiny, setting, error, message):
    with pytest.raises(error, match=message) as caught:
        plan_tiny(setting)
    assert caught.value.exit_code == 2


def test_a_barrier_score_is_made_from_the_families_of_its_arm(plan_tiny):
    plan = plan_tiny(
        "children=2", "scores.low={kind: barrier, arm: all@4}", "arms.easiest32@4.pretrain.subset.score=low"
    )
    score = by_use(plan, "score", "low", replicate=-1)
    assert [plan.stages[a].kind for a in score.inputs.values()] == ["barrier"]


def test_the_families_of_a_barrier_score_are_planned_once_whatever_asks_for_it(plan_tiny, monkeypatch):
    planned, honest = [], BarrierStage.plan_family

    def counted(planning, arm, *of):
        planned.append(arm)
        return honest(planning, arm, *of)

    monkeypatch.setattr(BarrierStage, "plan_family", counted)
    plan_tiny(
        "children=2",
        "replicates=4",
        "scores.low={kind: barrier, arm: all@4}",
        "arms.easiest32@4.pretrain.subset.score=low",
    )
    assert planned.count("all@4") == 2 * 4  # for the score, and for the arm itself


def test_a_barrier_score_of_an_arm_that_needs_it_is_refused(plan_tiny):
    with pytest.raises(StudyError, match="does not depend on it"):
        plan_tiny(
            "children=2", "scores.low={kind: barrier, arm: easiest32@4}", "arms.easiest32@4.pretrain.subset.score=low"
        )


@pytest.mark.parametrize(
    ("settings", "circle"),
    [
        (["arms.all@4.pretrain.subset={kind: random, like: all@4}"], "all@4 -> all@4"),
        (
            [
                "arms.all@4.pretrain.subset={kind: random, like: none@0}",
                "arms.none@0.pretrain.subset={kind: random, like: all@4}",
            ],
            "none@0 -> all@4 -> none@0",
        ),
    ],
)
def test_subsets_that_are_like_each_other_in_a_circle_are_refused(plan_tiny, settings, circle):
    with pytest.raises(StudyError, match=rf"like leads back to itself \({circle}\)") as caught:
        plan_tiny(*settings)
    assert caught.value.exit_code == 2


def test_an_arm_that_is_like_one_that_is_left_out_is_refused(tiny_text):
    study = parse_study(tiny_text, ["arms.all@4.pretrain.subset={kind: random, like: easiest32@4}"])
    with pytest.raises(StudyError, match=r"all@4\.pretrain\.subset\.like is 'easiest32@4', which is left out"):
        plan_study(only_arms(study, ["all@4"]))


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        ("{kind: nonsense}", UnknownName, "unknown score 'nonsense'[\\s\\S]*el2n"),
        ("{kind: file}", StudyError, r"scores\.idle: a score of kind 'file' needs path"),
        ("{kind: file, path: /nowhere.npy}", DataError, r"The file /nowhere\.npy cannot be read"),
        ("{kind: el2n, steps: 6, path: /nowhere.npy}", StudyError, r"scores\.idle\.path is given, but .*'el2n'"),
        ("{kind: random, path: /nowhere.npy}", StudyError, r"scores\.idle\.path is given, but .*'random'"),
        ("{kind: grand, steps: 6, batch_norm: lth_diet}", StudyError, r"scores\.idle: .*'grand' cannot be computed"),
        (
            "{kind: forgetting, steps: 6, batch_norm: lth_diet}",
            StudyError,
            r"scores\.idle: .*has no effect on the score",
        ),
        ("{kind: random, batch_norm: eval}", StudyError, r"scores\.idle: .*has no effect on the score"),
        ("{kind: el2n, steps: 6, batch_norm: batch}", StudyError, "batch_norm"),
        ("{kind: file, path: x.npy, per_replicate: true}", StudyError, "per_replicate has no effect"),
    ],
)
def test_a_score_that_cannot_be_made_is_refused_even_where_no_arm_uses_it(plan_tiny, score, error, message):
    with pytest.raises(error, match=message) as caught:
        plan_tiny(f"scores.idle={score}")
    assert caught.value.exit_code == 2


def test_a_window_may_end_with_the_data(plan_tiny):
    assert "subset" in kinds(plan_tiny("arms.easiest32@4.pretrain.subset={kind: window, size: 32, offset: 64}"))


def test_a_file_of_scores_has_one_for_every_training_example(plan_tiny, tmp_path):
    path = tmp_path / "scores.npy"
    setting = f"scores.el2n={{kind: file, path: {path}}}"
    np.save(path, np.arange(96.0))
    assert kinds(plan_tiny(setting)).count("given_score") == 1
    np.save(path, np.arange(95.0))
    with pytest.raises(DataError, match=r"scores\.npy has the shape \(95,\)(.|\n)*shape \(96,\)"):
        plan_tiny(setting)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(95, dtype=np.int64), "Got 95 labels for 96 images in {path}"),
        (np.full(96, 10), "Got labels from 10 to 10 in {path}"),
        (np.zeros(96), "Got labels of .* dtype float64 in {path}"),
        (None, "{path} cannot be read"),
    ],
)
@pytest.mark.parametrize("where", ["label_noise", "arms.none@0.label_noise"])
def test_given_labels_that_do_not_fit_are_refused_before_anything_runs(plan_tiny, tmp_path, where, labels, message):
    path = tmp_path / "given"
    if labels is not None:
        with path.open("wb") as file:
            np.save(file, labels)
    with pytest.raises(DataError, match=message.format(path=path)) as caught:
        plan_tiny(f"{where}={{kind: file, path: {path}}}")
    assert str(path) in caught.value.came
    assert caught.value.exit_code == 2


def test_given_labels_are_of_the_images_of_the_phase_that_sees_them(plan_tiny, tmp_path):
    path = tmp_path / "given.npy"
    np.save(path, np.zeros(40, dtype=np.int64))
    other = "arms.all@4.pretrain.dataset={name: digits, limit: 40}"
    plan_tiny(other, f"arms.all@4.label_noise={{kind: file, path: {path}}}")
    with pytest.raises(DataError, match="96"):
        plan_tiny(other, f"arms.all@4.label_noise={{kind: file, path: {path}, where: both}}")


@pytest.mark.parametrize(
    ("score", "mode"),
    [
        ("{kind: el2n, models: 1, steps: 6}", "recalibrate"),
        ("{kind: grand, models: 1, steps: 6}", "recalibrate"),
        ("{kind: el2n, models: 1, steps: 6, batch_norm: recalibrate}", "recalibrate"),
        ("{kind: el2n, models: 1, steps: 6, batch_norm: eval}", "eval"),
        ("{kind: loss, models: 1, steps: 12}", None),
    ],
)
def test_the_mode_of_batch_norm_is_in_the_identity_of_a_score_only_where_it_has_an_effect(plan_tiny, score, mode):
    plan = plan_tiny(f"scores.el2n={score}")
    assert {s.batch_norm for s in plan.of(ScoreModel)} == {mode}


def test_running_statistics_after_a_short_score_training_are_warned_of(plan_tiny):
    (warning,) = plan_tiny("scores.el2n.batch_norm=eval").warnings
    assert "scores.el2n has batch_norm eval after a training of 6 steps" in warning
    assert plan_tiny().warnings == ()
    assert plan_tiny("scores.el2n.batch_norm=eval", "scores.el2n.model={name: lenet_300_100}").warnings == ()
    assert plan_tiny("scores.el2n={kind: forgetting, models: 1, steps: 12}").warnings == ()
    long = ("training.steps=200", "scores.el2n.batch_norm=eval", "scores.el2n.steps")
    assert plan_tiny(*long[:2], f"{long[2]}=200").warnings == ()
    assert len(plan_tiny(*long[:2], f"{long[2]}=199").warnings) == 1


def points(plan, *arms):
    return {arm: by_use(plan, Pretrain.kind, arm) for arm in arms}


def test_an_arm_without_pre_training_is_evaluated_in_the_precision_of_its_training(plan_tiny):
    half = "arms.half={training: {precision: bfloat16}}"
    found = points(plan_tiny(half.replace("arms.half", "arms.all@4")), "none@0", "all@4")
    assert (found["none@0"].recipe.precision, found["all@4"].recipe.precision) == ("float32", "bfloat16")
    assert found["none@0"].address != found["all@4"].address


def test_arms_without_pre_training_share_the_point_unless_it_is_measured_differently(plan_tiny):
    same = ["arms.all@4={training: {lr: 0.2, batch_size: 8}, label_noise: {fraction: 0.5}}"]
    found = points(plan_tiny(*same), "none@0", "all@4")
    assert found["none@0"].address == found["all@4"].address
    found = points(plan_tiny(*same, "measure.gradient_agreement=true"), "none@0", "all@4")
    assert found["none@0"].address != found["all@4"].address
    assert (found["none@0"].recipe.batch_size, found["all@4"].recipe.batch_size) == (16, 8)
    assert found["all@4"].label_noise.options["fraction"] == 0.5


PER_REPLICATE = ("replicates=2", "scores.el2n.per_replicate=true")


def test_a_score_per_replicate_has_networks_of_its_own_and_chooses_that_replicates_subset(plan_tiny):
    shared, own = plan_tiny("replicates=2"), plan_tiny(*PER_REPLICATE)
    assert (kinds(shared).count("score_model"), kinds(own).count("score_model")) == (2, 4)
    first, second = (by_use(own, "score", "el2n", replicate) for replicate in (0, 1))
    assert set(first.inputs.values()).isdisjoint(second.inputs.values())
    for replicate, score in enumerate((first, second)):
        assert by_use(own, "subset", "easiest32@4", replicate).inputs["score"] == score.address
    assert first.address == by_use(shared, "score", "el2n", -1).address  # turning it on keeps what there is


def test_models_of_a_score_are_named_by_replicate_and_number(plan_tiny):
    labels = [s.label for s in plan_tiny(*PER_REPLICATE).stages.values() if s.kind == "score_model"]
    assert "score model · el2n · replicate 1 · model 0" in labels
    shared = [s.label for s in plan_tiny().stages.values() if s.kind == "score_model"]
    assert shared == ["score model · el2n · model 0", "score model · el2n · model 1"]


def test_permuted_and_random_scores_per_replicate_are_drawn_for_each(plan_tiny):
    for score in ("{kind: random}", "{kind: el2n, models: 1, steps: 6, permuted: true}"):
        plan = plan_tiny(f"scores.el2n={score}", *PER_REPLICATE)
        first, second = (by_use(plan, "score", "el2n", replicate) for replicate in (0, 1))
        assert first.address != second.address


def test_a_barrier_score_per_replicate_is_of_that_replicates_family(plan_tiny):
    low = ("scores.low={kind: barrier, arm: all@4, per_replicate: true}", "arms.easiest32@4.pretrain.subset.score=low")
    plan = plan_tiny("children=2", "replicates=2", *low)
    for replicate in (0, 1):
        (family,) = by_use(plan, "score", "low", replicate).inputs.values()
        assert plan.stages[family].family
        assert plan.stages[family].uses[0].replicate == replicate


NOISE = "label_noise={fraction: 0.5, per_replicate: true}"


def test_label_noise_per_replicate_is_drawn_for_each_and_replicate_0_keeps_the_shared_draw(plan_tiny):
    shared = plan_tiny("replicates=2", "label_noise={fraction: 0.5}")
    own = plan_tiny(NOISE, *PER_REPLICATE)
    seeds = [
        [by_use(plan, "pretrain", "all@4", replicate).label_noise.seed for replicate in (0, 1)]
        for plan in (shared, own)
    ]
    assert seeds[0][0] == seeds[0][1] == seeds[1][0] != seeds[1][1]
    models = [s for s in own.stages.values() if s.kind == "score_model"]
    assert {(s.uses[0].replicate, s.label_noise.seed) for s in models} == set(enumerate(seeds[1]))


def test_noise_of_main_training_is_drawn_per_replicate_too(plan_tiny):
    plan = plan_tiny("label_noise={fraction: 0.5, per_replicate: true, where: training}", "replicates=2", "children=2")
    for kind in ("level", "child"):
        first, second = (by_use(plan, kind, "all@4", replicate, 0).label_noise for replicate in (0, 1))
        assert first.seed != second.seed


def test_one_score_of_labels_that_differ_between_replicates_is_refused(plan_tiny):
    with pytest.raises(StudyError, match=r"scores\.el2n is one score for all replicates") as caught:
        plan_tiny(NOISE)
    assert "scores.el2n.per_replicate=true, or scores.el2n.labels=clean" in caught.value.way_out
    assert caught.value.exit_code == 2
    for remedy in ("scores.el2n.per_replicate=true", "scores.el2n.labels=clean", "scores.el2n={kind: random}"):
        assert plan_tiny(NOISE, remedy).stages
    assert plan_tiny(NOISE.replace("true}", "true, where: training}")).stages


def test_given_labels_are_the_same_for_all_replicates(plan_tiny):
    with pytest.raises(StudyError, match="per_replicate has no effect on labels of kind 'file'"):
        plan_tiny("label_noise={kind: file, path: labels.npy, per_replicate: true}")


@pytest.mark.parametrize(
    ("subset", "depends"),
    [
        ("{kind: random, size: 32}", False),
        ("{kind: random, size: 32, balanced: true}", True),
        ("{kind: random, size: 20, balanced: true, classes: [1, 2, 3]}", False),
        ("{kind: random, like: easiest32@4}", True),
    ],
)
def test_label_noise_is_in_the_identity_of_a_subset_only_where_it_counts_labels(plan_tiny, subset, depends):
    arms = (f"arms.all@4.pretrain.subset={subset}", "scores.el2n.labels=clean")
    clean, noisy, later = (
        by_use(plan_tiny(*arms, *noise), "subset", "all@4")
        for noise in ([], ["label_noise={fraction: 0.5}"], ["label_noise={fraction: 0.5, where: training}"])
    )
    assert clean.label_noise is None
    assert (noisy.address != clean.address) is depends
    assert later.address == clean.address
