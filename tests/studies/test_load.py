import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import StudyError, UnknownName, UserError
from ticketdiet.studies.load import builtin_names, builtin_text, load_spec, only_arms, parse_study
from ticketdiet.studies.spec import StudySpec


def test_every_built_in_study_is_legal_and_names_itself():
    assert builtin_names() == ["cifar10-resnet20", "imagenet64-resnet18", "mini-cifar", "quickstart"]
    for name in builtin_names():
        study = load_spec(name)
        assert study.study == name
        assert study.description


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_study_trains_in_float32_as_the_paper_did(name):
    study = load_spec(name)
    arms = [study.arm(name) for name in study.arms]
    trainings = [recipe for arm in arms for recipe in (arm.training, arm.pretraining, arm.search_training)]
    trainings += [study.training, *map(study.score_training, study.scores)]
    assert {recipe.precision for recipe in trainings} == {"float32"}


def test_a_study_that_names_no_precision_trains_in_float32(tiny_text):
    assert parse_study(tiny_text.replace(", precision: float32", "")).training.precision == "float32"
    assert parse_study(tiny_text, ["training.precision=bfloat16"]).training.precision == "bfloat16"


def test_mini_cifar_is_the_setting_the_paper_notes_measured():
    study = load_spec("mini-cifar")
    assert (study.dataset.name, study.dataset.resolution, study.model.name) == ("cifar10", 16, "resnet14")
    assert (study.training.lr, study.training.batch_size, study.training.steps) == (0.3, 128, 6000)
    assert study.training.milestone_steps() == (3000, 4500)
    assert study.training.crop_padding == 2
    assert list(study.arms) == [
        "none@0",
        "all@100",
        "all@400",
        "easiest3200@100",
        "random3200@100",
        "hardest3200@100",
    ]


def test_the_papers_recipe_has_its_steps_levels_and_models():
    study = load_spec("cifar10-resnet20")
    assert study.training.steps == 62400
    assert study.training.milestone_steps() == (31200, 46800)
    assert (study.pruning.levels, study.pruning.fraction, study.replicates) == (20, 0.2, 4)
    assert (study.scores["el2n"].models, study.scores["el2n"].steps) == (16, 7800)


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("dataset.name=mnist", lambda s: s.dataset.name == "mnist"),
        ("dataset.resolution=4", lambda s: s.dataset.resolution == 4),
        ("dataset.limit=50", lambda s: s.dataset.limit == 50),
        ("model.name=resnet14", lambda s: s.model.name == "resnet14"),
        ("model.width=8", lambda s: s.model.width == 8),
        ("training.steps=40", lambda s: s.training.steps == 40),
        ("training.batch_size=8", lambda s: s.training.batch_size == 8),
        ("training.lr=0.5", lambda s: s.training.lr == 0.5),
        ("pruning.fraction=0.3", lambda s: s.pruning.fraction == 0.3),
        ("pruning.levels=9", lambda s: s.pruning.levels == 9),
        ("pruning.rule=threshold", lambda s: s.pruning.rule == "threshold"),
        ("replicates=3", lambda s: s.replicates == 3),
        ("seed=5", lambda s: s.seed == 5),
        ("scores.el2n.kind=grand", lambda s: s.scores["el2n"].kind == "grand"),
        ("arms.all@4.pretrain.steps=7", lambda s: s.arms["all@4"].pretrain.steps == 7),
        ("arms.easiest32@4.pretrain.subset.kind=hardest", lambda s: _subset(s).kind == "hardest"),
        ("arms.easiest32@4.pretrain.subset.size=48", lambda s: _subset(s).size == 48),
        ("arms.easiest32@4.pretrain.subset.balanced=true", lambda s: _subset(s).balanced),
        ("arms.easiest32@4.pretrain.subset.kind=random", lambda s: s.arms["easiest32@4"].pretrain.subset.size == 32),
        ("arms.easiest32@4.pretrain.subset.kind=all", lambda s: s.arms["easiest32@4"].pretrain.subset.is_everything),
        ("arms.all@4.training.lr=0.7", lambda s: s.arm("all@4").training.lr == 0.7),
        ("arms.all@4.pruning.levels=1", lambda s: s.arm("all@4").pruning.levels == 1),
    ],
)
def test_set_reaches_every_key_that_others_rely_on(tiny_text, setting, read):
    assert read(parse_study(tiny_text, [setting]))


def _subset(study):
    return study.arms["easiest32@4"].pretrain.subset


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.stepz=4", r"training\.stepz: unknown key; known keys: steps, batch_size"),
        ("nonsense=4", r"nonsense: unknown key; known keys: study"),
        ("arms.all@4.pretrain.subset.sice=4", r"sice: unknown key; known keys: kind, size"),
        ("training.steps=-1", r"training\.steps: .*greater than or equal to 1.*-1"),
        ("training.steps=many", r"training\.steps: .*'many'"),
        ("training.lr=.nan", r"training\.lr"),
        ("pruning.fraction=1.0", r"pruning\.fraction: .*less than 1"),
        ("pruning.fraction=0", r"pruning\.fraction: .*greater than 0"),
        ("pruning.rule=best", r"pruning\.rule: .*'exact' or 'threshold'"),
        ("arms.all@4.pretrain.steps=13", r"13.*training\.steps is 12"),
        ("arms.easiest32@4.pretrain.subset.score=grand", r"'grand'.*el2n"),
        ("arms.easiest32@4.pretrain.subset.size=null", "lacks size or fraction"),
        ("children=1", "2 or more"),
        ("arms.all@4.training.lr=-1", r"  - arms\.all@4\.training\.lr: Input should be greater than 0 \(came: -1\)\n"),
        ("arms.all@4.pruning={rule: foo, fraction: 2}", r"(?s)2 problem.*pruning\.fraction.*pruning\.rule: .*'foo'\)"),
        ("arms.all@4.training.stepz=3", r"arms\.all@4\.training\.stepz: unknown key"),
        ("study=a b", r"- study: expected letters, digits, _ \+ @ -, beginning with a letter or digit \(came: 'a b'\)"),
        ("scores.a b={kind: el2n}", r"- scores\.a b: expected letters, digits"),
        ("arms={a b: {}}", r"- arms\.a b: expected letters, digits"),
        ("dataset=digits", r"- dataset: expected keys, for example dataset: \{name: digits\} \(came: 'digits'\)"),
        ("arms.all@4=3", r"- arms\.all@4: expected keys, some of: "),
        ("vary=order", r"- vary: expected a list \(came: 'order'\)"),
        ("vary=order", r"way out: .*docs/study\.md"),
    ],
)
def test_what_is_not_legal_is_named_by_its_path(tiny_text, setting, message):
    with pytest.raises(StudyError, match=message):
        parse_study(tiny_text, [setting])


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ("{kind: all, offset: 3}", "offset has no effect on a subset of kind 'all'"),
        ("{kind: random, like: easiest32@4, size: 32}", "size has no effect on a subset like 'easiest32@4'"),
        ("{kind: random, like: easiest32@4, fraction: 0.5}", "fraction has no effect on a subset like"),
        ("{kind: easiest, size: 32, offset: 3}", "offset has no effect on a subset of kind 'easiest'"),
        ("{kind: random, size: 32, indices: [1, 2]}", "indices has no effect on a subset of kind 'random'"),
        ("{kind: indices, indices: [1, 2, 7, 2]}", "indices names example 2 more than once"),
    ],
)
def test_keys_of_a_subset_without_effect_are_refused(tiny_text, subset, message):
    with pytest.raises(StudyError, match=rf"arms\.all@4\.pretrain\.subset: {message}"):
        parse_study(tiny_text, [f"arms.all@4.pretrain.subset={subset}"])


def test_a_subset_of_a_kind_of_another_package_may_have_any_keys(tiny_text):
    subset = "{kind: theirs, size: 32, offset: 3, score: el2n, indices: [1, 2]}"
    study = parse_study(tiny_text, [f"arms.all@4.pretrain.subset={subset}"])
    assert study.arms["all@4"].pretrain.subset.offset == 3


def test_a_fraction_of_labels_from_a_file_is_refused(tiny_text):
    with pytest.raises(StudyError, match="label_noise: fraction has no effect on labels of kind 'file'"):
        parse_study(tiny_text, ["label_noise={kind: file, path: labels.npy, fraction: 0.5}"])


@pytest.mark.parametrize("setting", ["training.steps", "=4", "training..lr=1", "seed.x=1", "seed=[1"])
def test_a_setting_that_is_no_assignment_is_refused(tiny_text, setting):
    with pytest.raises(StudyError):
        parse_study(tiny_text, [setting])


def test_setting_a_key_of_an_arm_that_does_not_exist_is_refused(tiny_text):
    with pytest.raises(UnknownName, match=r"all@5[\s\S]*did you mean 'all@4'"):
        parse_study(tiny_text, ["arms.all@5.pretrain.steps=3"])


def test_an_empty_file_is_called_empty():
    with pytest.raises(StudyError, match=r"^study is empty"):
        parse_study("")


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: [", "study: x\nstudy: y", "? [a]\n: b", "!!python/object:os.system {}"]
)
def test_text_that_is_no_study_is_refused(text):
    with pytest.raises(StudyError):
        parse_study(text)


def test_an_unknown_study_lists_the_known():
    with pytest.raises(UnknownName, match=r"quickstar'[\s\S]*mini-cifar, quickstart[\s\S]*'quickstart'"):
        load_spec("quickstar")
    with pytest.raises(UnknownName):
        builtin_text("../spec")


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(StudyError, match="No such file"):
        load_spec(str(tmp_path / "none.yaml"))


def test_arms_can_be_limited(tiny_text):
    assert list(only_arms(parse_study(tiny_text), ["all@4"]).arms) == ["all@4"]
    with pytest.raises(UnknownName, match="none@0"):
        only_arms(parse_study(tiny_text), ["nobody"])


def test_a_study_survives_a_round_trip_through_yaml(tiny_text):
    study = parse_study(tiny_text)
    assert parse_study(yaml.safe_dump(study.model_dump(mode="json"))) == study


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    )
)
def test_any_yaml_gives_a_study_or_a_message_for_the_user(content):
    try:
        found = parse_study(yaml.safe_dump(content))
    except UserError:
        return
    assert isinstance(found, StudySpec)


def test_a_study_is_checked_without_torch():
    script = (
        "import sys; from ticketdiet.studies.load import load_spec\n"
        "load_spec('quickstart'); assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
