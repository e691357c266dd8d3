"""Study files and values of --set by the thousand, made by breaking legal ones: a plan, or a message for the user.

Everything is drawn by hypothesis from a fixed seed. What bounds the work is the product's own limits, not a clock: a
mutant that planned without end would never come back. ``-m slow`` draws many more.
"""

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import UserError
from ticketdiet.studies.load import builtin_names, builtin_text, parse_study
from ticketdiet.studies.plan import Plan, plan_study

FULL = """
study: full
description: every part of the schema
dataset: {name: digits, limit: 96, validation: 0.1, resolution: 4, seed: 1}
model: {name: resnet8, width: 4, initialisation: paper}
training:
  steps: 12
  batch_size: 16
  lr: 0.05
  schedule: multistep
  milestones: [0.5, 9]
  warmup_steps: 2
  crop_padding: 1
  flip: false
  precision: float32
pruning: {fraction: 0.5, levels: 2, rule: exact, ignore: [fc.weight]}
replicates: 2
seed: 3
children: 2
vary: [order]
label_noise: {kind: symmetric, fraction: 0.1, where: pretraining, per_replicate: true}
measure: {levels: [0, 1], alphas: [0, 0.5, 1], successive_levels: true, gradient_agreement: true, predict_level: 1}
scores:
  el2n: {kind: el2n, models: 2, steps: 6, training: {lr: 0.1}, per_replicate: true, batch_norm: eval}
  luck: {kind: random, models: 1, permuted: true}
  wall: {kind: barrier, arm: all@4}
arms:
  none@0: {}
  all@4: {pretrain: {steps: 4, evaluate_every: 2}, training: {lr: 0.1}, pruning: {levels: 1}, model: {width: 2}}
  easiest@4: {pretrain: {steps: 4, subset: {kind: easiest, size: 32, score: el2n, balanced: true}}}
  window@4:
    pretrain: {steps: 4, subset: {kind: window, size: 32, offset: 3, score: wall}}
    ticket: {mask: snip, mask_options: {images: 20}}
  twin@4: {pretrain: {passes: 1, subset: {kind: random, like: easiest@4}}, ticket: {mask: shuffled, weights: sign_only}}
  searched@4:
    pretrain: {steps: 4, objective: rotation}
    search: {subset: {kind: random, size: 32}, steps: 8, labels: clean, training: {lr: 0.1}}
    ticket: {restart: fine_tune, restart_options: {lr: 0.01}}
  listed@4:
    pretrain: {steps: 4, subset: {kind: indices, indices: [1, 2, 3, 5, 8, 13, 21, 34, 4, 6, 7, 9, 10, 11, 12, 0]}}
"""
NASTY = [
    *(None, True, False, "", " ", "a b", "x" * 300, "~", "null", ".", "..", "/", "-", "=", "<<", "\u202e", "é", "\n"),
    *(0, 1, -1, 2, 3, 97, 10**3, 10**6, 10**9, 10**12, -(10**12), 2**63, 2**64, 10**90, "[red]"),
    *(0.0, 0.5, -0.5, 1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), 0.1 + 0.2),
    *("el2n", "barrier", "wall", "random", "all", "file", "easiest", "stratified", "mixture", "forgetting"),
    *("resnet20", "resnet50", "vgg16", "resnet9", "resnet-14", "os:system", "sys:exit", "math:pi", "torch.nn:Linear"),
    *("digits", "npz:", "npz:/", "folder:/", "parquet:.", "npz:x?y=z", "nope", "digits:x", "digits?x=y", ":"),
    *("/dev/zero", "/nowhere.npy", "scores.csv", "none@0", "all@4", "easiest@4", "2020-13-45", "0x_", "1:30"),
    *([], [[]], [0, 1], [0.5], ["order", "order"], {}, {"": 1}, {"a": {"b": {}}}, {"kind": "el2n"}, {"steps": 4}),
    {1: 2},
]
KEYS = ["steps", "kind", "size", "like", "score", "arm", "path", "levels", "models", "nope", "", "a.b", "none@0", "<<"]
OPERATIONS = ["replace", "replace", "replace", "remove", "rename", "copy", "wrap", "deepen"]
PIECES = [*"{}[]:,#&*!|>'\"%\t\0", "&a ", "*a", "<<: *a, ", "!!int ", "? ", "- ", "9" * 99]
RAW_VALUES = ["[", "{", "!!int x", "0b_", "&a [*a]", "'", "a: b: c", "=", "*a"]


def places(content, path=()):
    """Every path of keys and indices below ``content``, inner ones before the leaves."""
    if path:
        yield path
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def holder(content, path):
    for key in path[:-1]:
        content = content[key]
    return content


def deep(value, levels):
    for number in range(levels):
        value = [value] if number % 2 else {"a": value}
    return value


def draw_mutant(data, original):
    """Break one to three places of a study: values, keys, nesting, or parts that take each other's places."""
    content = copy.deepcopy(original)
    for _ in range(data.draw(st.integers(1, 3))):
        known = list(places(content))
        if not known:
            return content
        path = data.draw(st.sampled_from(known))
        inside, key = holder(content, path), path[-1]
        what = data.draw(st.sampled_from(OPERATIONS))
        if what == "replace":
            inside[key] = copy.deepcopy(data.draw(st.sampled_from(NASTY)))
        elif what == "remove":
            del inside[key]
        elif what == "rename" and isinstance(inside, dict):
            inside[data.draw(st.sampled_from(KEYS))] = inside.pop(key)
        elif what == "copy":
            other = data.draw(st.sampled_from(known))
            inside[key] = copy.deepcopy(holder(content, other)[other[-1]])
        elif what == "wrap":
            inside[key] = [inside[key]] * data.draw(st.sampled_from([1, 2, 500]))
        else:
            inside[key] = deep(inside[key], data.draw(st.sampled_from([2, 30, 60])))
    return content


def break_text(data, text):
    """Break the text itself: lines that go, stand twice or trade places, and characters put anywhere."""
    for _ in range(data.draw(st.integers(1, 3))):
        lines = text.splitlines()
        if not lines:
            return text
        one, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        what = data.draw(st.sampled_from(["remove", "double", "swap", "insert", "cut"]))
        if what == "remove":
            del lines[one]
        elif what == "double":
            lines.insert(one, lines[other])
        elif what == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        elif what == "cut":
            lines[one] = lines[one][: data.draw(st.integers(0, len(lines[one])))]
        else:
            place = data.draw(st.integers(0, len(lines[one])))
            piece = data.draw(st.sampled_from(PIECES))
            lines[one] = lines[one][:place] + piece + lines[one][place:]
        text = "\n".join(lines)
    return text


def keeps_the_law(text, settings=()):
    """A study is planned, or refused in so many words; anything else is an error of the test."""
    try:
        return isinstance(plan_study(parse_study(text, settings)), Plan)
    except UserError as error:
        message, code = str(error), error.exit_code
    assert code == 2
    assert 10 < len(message) < 20_000
    return False


FULL_CONTENT = yaml.safe_load(FULL)
MANY = settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
FEW = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(autouse=True, scope="module")
def smaller_plans():
    """Legal mutants may be as large as anybody could run; less is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ticketdiet.studies.limits.MOST_STAGES", 2000)
        yield


def test_what_is_broken_here_is_legal_before():
    assert keeps_the_law(FULL)
    assert keeps_the_law(yaml.safe_dump(FULL_CONTENT))


@FEW
@given(st.data())
def test_a_study_with_broken_values_is_planned_or_refused(data):
    keeps_the_law(yaml.safe_dump(draw_mutant(data, FULL_CONTENT), sort_keys=False))


@FEW
@given(st.data())
def test_a_study_with_a_broken_text_is_planned_or_refused(data):
    keeps_the_law(break_text(data, FULL))


@FEW
@given(st.data())
def test_a_built_in_study_with_a_broken_text_is_read_or_refused(data):
    text = break_text(data, builtin_text(data.draw(st.sampled_from(builtin_names()))))
    try:
        parse_study(text)
    except UserError:
        return


def draw_setting(data):
    path = list(map(str, data.draw(st.sampled_from(list(places(FULL_CONTENT))))))
    for _ in range(data.draw(st.integers(0, 2))):
        what = data.draw(st.sampled_from(["add", "cut", "change"]))
        place = data.draw(st.integers(0, len(path)))
        if what == "add":
            path.insert(place, data.draw(st.sampled_from(KEYS)))
        elif what == "cut":
            path = path[:place]
        elif place < len(path):
            path[place] = data.draw(st.sampled_from([*KEYS, " ", "\0", "é", "x" * 300]))
    value = data.draw(st.sampled_from([*NASTY, *RAW_VALUES]))
    written = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
    return (
        ".".join(path)
        + data.draw(st.sampled_from(["=", "=", "=", "=", "", " = "]))
        + written.removesuffix("...\n").strip()
    )


@FEW
@given(st.data())
def test_any_setting_is_applied_or_refused(data):
    keeps_the_law(FULL, [draw_setting(data) for _ in range(data.draw(st.integers(1, 2)))])


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "=",
        "=1",
        ".",
        ".=1",
        "..=1",
        "a",
        "arms=",
        "arms.=1",
        ".arms=1",
        "arms.all@4=",
        "arms.all@4.pretrain.subset.indices.0=1",
        "study.x=1",
        "scores.0.kind=el2n",
        ".".join("a" * 100_000) + "=1",
        "x" * 1_000_000,
        "x" * 1_000_000 + "=1",
        "description=" + "x" * 1_000_000,
        "description=\ud800",
        "\ud800=1",
        "arms.\0.pretrain=1",
        "training.\n=1",
    ],
)
def test_a_setting_that_leads_nowhere_is_refused_in_few_words(setting):
    with pytest.raises(UserError) as caught:
        parse_study(FULL, [setting])
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("part", ["arms", "scores"])
@pytest.mark.parametrize("value", ["3", "[1, 2]", "text", "null", "{1: {}, a: {}}"])
def test_settings_inside_of_what_is_no_mapping_are_refused(part, value):
    with pytest.raises(UserError):
        parse_study(FULL, [f"{part}={value}", f"{part}.x.y=1"])


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_studies_with_broken_values_are_planned_or_refused(data):
    keeps_the_law(yaml.safe_dump(draw_mutant(data, FULL_CONTENT), sort_keys=False))


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_studies_with_a_broken_text_are_planned_or_refused(data):
    keeps_the_law(break_text(data, FULL))


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_settings_are_applied_or_refused(data):
    keeps_the_law(FULL, [draw_setting(data) for _ in range(data.draw(st.integers(1, 2)))])
