"""No study that passes the schema takes long to plan, and what is too large says what makes it so."""

import os

import pytest

from ticketdiet.core.errors import StudyError, UserError
from ticketdiet.studies.limits import MOST_STAGES
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study

HUGE = "9" * 90


@pytest.mark.parametrize(
    "setting",
    [
        "dataset.resolution=1000000000",
        f"dataset.limit={HUGE}",
        f"dataset.seed={HUGE}",
        f"model.width={HUGE}",
        "training.steps=1000000001",
        f"training.batch_size={HUGE}",
        f"training.milestones=[{HUGE}]",
        "training.milestones=[.inf]",
        f"training.milestones=[{'5,' * 1001}]",
        f"training.warmup_steps={HUGE}",
        "training.crop_padding=1000000000",
        "pruning.levels=1001",
        "replicates=1001",
        "children=101",
        f"seed={HUGE}",
        f"evaluate_every={HUGE}",
        "scores.el2n.models=1001",
        f"scores.el2n.steps={HUGE}",
        f"measure.alphas=[{'0.5,' * 1002}]",
        f"measure.levels=[{'0,' * 1002}]",
        f"measure.levels=[{HUGE}]",
        f"measure.predict_level={HUGE}",
        "measure.tolerance=.inf",
        f"arms.all@4.pretrain.steps={HUGE}",
        f"arms.all@4.pretrain.evaluate_every={HUGE}",
        "arms.easiest32@4.pretrain.subset={kind: stratified, size: 32, strata: 1000000000}",
        f"arms.easiest32@4.pretrain.subset={{kind: window, size: 32, offset: {HUGE}}}",
        f"arms.easiest32@4.pretrain.subset={{kind: random, size: {HUGE}}}",
        f"arms.easiest32@4.pretrain.subset={{kind: indices, indices: [{HUGE}]}}",
    ],
)
def test_an_absurd_number_is_refused_by_the_schema(tiny_text, setting):
    with pytest.raises(StudyError, match=r"less than or equal to|finite number|at most") as caught:
        parse_study(tiny_text, [setting])
    assert len(str(caught.value)) < 800


def test_too_many_arms_are_refused():
    arms = "".join(f"  a{number}: {{}}\n" for number in range(501))
    with pytest.raises(StudyError, match=r"- arms: .*at most 500"):
        parse_study(f"study: x\ndataset: {{name: digits}}\narms:\n{arms}")


def test_only_the_first_problems_are_listed():
    arms = "".join(f"  a{number}: 3\n" for number in range(300))
    with pytest.raises(StudyError, match=r"300 problem\(s\)") as caught:
        parse_study(f"study: x\ndataset: {{name: digits}}\narms:\n{arms}")
    assert "and 280 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 24


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["replicates=1000", "pruning.levels=1000"], r"3 arm\(s\) of 1,000 replicate\(s\), .* 1,000 levels"),
        (["replicates=1000", "children=100"], "100 children at 1 level"),
        (["children=100", "replicates=20", f"measure.levels={[*range(101)]}"], r"100 children at 101 level\(s\)"),
        (["replicates=30", "pruning.levels=1000", "arms.none@0.ticket={mask: random}"], "1,000 levels"),
    ],
)
def test_a_study_of_too_many_stages_says_what_makes_it_so_large(tiny_text, settings, says):
    with pytest.raises(StudyError, match=rf"^tiny would have about [\d,]+ stages: .*{says}") as caught:
        plan_study(parse_study(tiny_text, settings))
    assert f"at most {MOST_STAGES:,}" in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["replicates=3", "children=2", "measure.levels=[0, 1, 2]", "measure.successive_levels=true"],
        ["replicates=2", "arms.all@4.ticket={mask: shuffled}", "arms.none@0.ticket={mask: magnitude}"],
        ["replicates=2", "pruning.levels=40", "scores.el2n.models=30"],
        ["replicates=2", "arms.all@4.search={}", "children=2", "measure.levels=[0, 1, 2]"],
        ["arms={all@4: {search: {}, ticket: {mask: shuffled}}}", "pruning.levels=40", "scores={}"],
    ],
)
def test_the_estimate_is_no_less_than_the_plan_and_of_its_order(tiny_text, settings, monkeypatch):
    study = parse_study(tiny_text, settings)
    stages = len(plan_study(study).stages)
    monkeypatch.setattr("ticketdiet.studies.limits.MOST_STAGES", stages - 1)
    with pytest.raises(StudyError, match="stages"):
        plan_study(study)
    monkeypatch.setattr("ticketdiet.studies.limits.MOST_STAGES", 3 * stages)
    assert plan_study(study).stages


def chain(count, link):
    arms = "".join(f"  a{number}: {link(number)}\n" for number in range(count))
    return f"{arms}  a{count}: {{pretrain: {{steps: 2, subset: {{kind: random, size: 32}}}}}}\n"


HEAD = """
study: chained
dataset: {name: digits, limit: 96}
model: {name: resnet8, width: 4}
training: {steps: 4, batch_size: 16}
pruning: {levels: 0}
children: 2
"""


def like_the_next(number):
    return f"{{pretrain: {{steps: 2, subset: {{kind: random, like: a{number + 1}}}}}}}"


def easiest_of_the_next(number):
    return f"{{pretrain: {{steps: 2, subset: {{kind: easiest, size: 32, score: s{number}}}}}}}"


def chained(count, link, head=HEAD):
    scores = "".join(f"  s{number}: {{kind: barrier, arm: a{number + 1}}}\n" for number in range(count))
    return parse_study(f"{head}scores:\n{scores}arms:\n{chain(count, link)}")


@pytest.mark.parametrize("link", [like_the_next, easiest_of_the_next])
def test_a_long_chain_of_subsets_is_refused(link):
    with pytest.raises(StudyError, match="more than 20 other arms"):
        plan_study(chained(400, link))


@pytest.mark.parametrize("link", [like_the_next, easiest_of_the_next])
def test_a_short_chain_of_subsets_is_planned(link):
    assert len(plan_study(chained(3, link)).stages) > 12


def test_families_of_families_are_counted_before_they_are_planned():
    with pytest.raises(StudyError, match="stages"):
        plan_study(chained(10, easiest_of_the_next, HEAD + "replicates: 10\n"))


@pytest.mark.parametrize("name", ["resnet1208", "resnet999998", "resnet" + "9" * 5000])
def test_a_network_without_end_is_unknown(plan_tiny, name):
    with pytest.raises(UserError, match=r"unknown model"):
        plan_tiny(f"model.name={name}")


@pytest.mark.parametrize("name", ["resnet20", "vgg16", "lowres_resnet50"])
def test_a_network_larger_than_memory_is_refused_before_it_is_made(plan_tiny, name):
    with pytest.raises(UserError, match=r"width 10000 has [\d,]+ weights"):
        plan_tiny(f"model.name={name}", "model.width=10000")


@pytest.mark.skipif(os.name != "posix", reason="needs devices")
@pytest.mark.parametrize(
    "setting",
    [
        "scores.x={kind: file, path: PIPE.npy}",
        "scores.x={kind: file, path: PIPE.csv}",
        "label_noise={kind: file, path: PIPE.npy}",
        "dataset.name=npz:PIPE.npy",
        "dataset.name=folder:PIPE.npy",
        "dataset.name=parquet:PIPE.npy",
        "label_noise={kind: file, path: /dev/zero}",
        "scores.x={kind: file, path: /dev/zero}",
        "dataset.name=npz:/dev/zero",
    ],
)
def test_no_file_that_a_study_names_is_waited_for(plan_tiny, tmp_path, setting):
    for ending in ("npy", "csv"):
        os.mkfifo(tmp_path / f"pipe.{ending}")
    with pytest.raises(UserError):
        plan_tiny(setting.replace("PIPE", str(tmp_path / "pipe")))


@pytest.mark.parametrize(
    "setting",
    [
        "dataset.name=npz:LONG",
        "dataset.name=folder:LONG",
        "dataset.name=parquet:LONG",
        "dataset={name: mnist, root: LONG}",
        "dataset.name=npz:~nobody-of-that-name/x",
        "dataset={name: mnist, root: ~nobody-of-that-name/x}",
        "scores.x={kind: file, path: LONG.npy}",
        "label_noise={kind: file, path: LONG}",
        "model.name=LONG",
        "model.name=LONG:x",
        "model.name=x:LONG",
        "model.name=.x:y",
        "model.name=..:y",
        "model.name=x..y:z",
    ],
)
def test_no_name_in_a_study_ends_in_a_traceback(plan_tiny, setting):
    with pytest.raises(UserError):
        plan_tiny(setting.replace("LONG", "x" * 5000))


def test_a_thousand_levels_are_planned(plan_tiny):
    assert len(plan_tiny("pruning.levels=1000", "arms.none@0.ticket={mask: random}").stages) > 3000
