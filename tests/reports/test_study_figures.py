import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from ticketdiet.reports.drawing import draw_figures
from ticketdiet.reports.reading import read_study
from ticketdiet.reports.rows import final_rows
from ticketdiet.reports.study_figures import prediction_points
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import only_arms, parse_study
from ticketdiet.studies.plan import plan_study

SETTINGS = (
    "training.lr=0.1",
    "children=2",
    "arms={none@0: {}, all@2: {pretrain: {steps: 2}}, all@6: {pretrain: {steps: 6}}}",
    "arms.random32@6={pretrain: {steps: 6, subset: {kind: random, size: 32}}}",
    "arms.easiest32@6={pretrain: {steps: 6, evaluate_every: 3, subset: {kind: easiest, size: 32, score: el2n}}}",
)
DIET = ("diet_el2n", "stability_el2n", "sheet_el2n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, plan_tiny, run_tiny):
    store = ResultStore.open(tmp_path_factory.mktemp("pictured") / "store")
    run_tiny(plan_tiny(*SETTINGS), store)
    return store


@pytest.fixture
def pictures(finished, plan_tiny):
    """Figures and rows of the finished study, with some settings."""

    def draw(*settings):
        return pictures_of(plan_tiny(*SETTINGS, *settings), finished)

    return draw


def pictures_of(plan, store):
    found = read_study(plan, store)
    return dict(draw_figures(found)), found.rows


def test_a_study_with_children_has_the_figures_of_the_landscape(pictures):
    figures, _ = pictures()
    assert set(figures) == {
        "accuracy",
        "layer_density",
        *DIET,
        "pretraining",
        "barrier_alpha",
        "barrier_histogram",
        "connected_fraction",
        "barrier_against_el2n",
        "prediction",
        "prediction_connected",
        "prediction_pretraining",
    }


def test_a_study_without_finished_children_has_the_accuracy_and_its_diets(pictures):
    figures, _ = pictures("children=0")
    assert set(figures) == {"accuracy", "layer_density", "pretraining", *DIET}


def test_a_study_without_scores_and_evaluations_has_the_accuracy_and_its_masks(finished, tiny_text):
    plan = plan_study(only_arms(parse_study(tiny_text, [*SETTINGS, "children=0"]), ["all@2"]))
    assert set(pictures_of(plan, finished)[0]) == {"accuracy", "layer_density"}


def test_the_diet_of_every_arm_is_drawn_where_its_scores_lie(pictures):
    figures, _ = pictures()
    distribution, classes = figures["diet_el2n"].axes
    assert [text.get_text() for text in figures["diet_el2n"].legends[0].get_texts()] == [
        "all examples",
        "random32@6",
        "easiest32@6",
    ]
    counts = [np.sum(patch.get_data()[0]) for patch in distribution.patches if isinstance(patch, StepPatch)]
    assert counts == [32, 32]
    fractions = [sum(line.get_xdata()) for line in classes.lines if len(line.get_xdata()) == 10]
    assert fractions == pytest.approx([100, 100])


def test_scores_that_are_partly_infinite_are_drawn_as_far_as_they_go(finished, tiny_text, run_tiny):
    study = parse_study(tiny_text, [*SETTINGS, "scores.el2n={kind: forgetting, models: 1, steps: 12}"])
    plan = plan_study(only_arms(study, ["none@0", "easiest32@6"]))
    run_tiny(plan, finished)
    figures, _ = pictures_of(plan, finished)
    assert {"diet_el2n", "barrier_against_el2n"} <= set(figures)
    assert "infinite, not drawn" in figures["barrier_against_el2n"].axes[0].get_title(loc="left")


def test_pre_training_is_drawn_on_the_subset_and_the_rest_of_the_data(pictures):
    figures, rows = pictures()
    (panel,) = figures["pretraining"].axes
    lines = {line.get_label(): line for line in panel.lines}
    assert set(lines) == {"train", "test", "subset", "rest"}
    own = rows[(rows.kind == "pretrain") & (rows.arm == "easiest32@6") & (rows.metric == "accuracy_recalibrated")]
    for split, line in lines.items():
        found = own[own.split == split].sort_values("step")
        assert line.get_xdata().tolist() == found.step.tolist() == [0, 3, 6]
        assert line.get_ydata() == pytest.approx(100 * found.value.to_numpy())


@pytest.mark.parametrize("level", [0, 1])
def test_prediction_shows_the_accuracy_of_the_level_that_is_asked_for(pictures, level):
    figures, rows = pictures(f"measure.predict_level={level}")
    axes = figures["prediction"].axes[0]
    shown = sorted(y for line in axes.lines for y in line.get_ydata())
    accuracy = final_rows(rows)
    assert shown == pytest.approx(sorted(100 * accuracy[accuracy.level == level].value))
    assert f"density {['100', '50.0'][level]} %" in axes.get_ylabel()


def test_prediction_is_of_the_sparsest_level_by_default(pictures):
    figures, _ = pictures()
    assert "density 25.0 %" in figures["prediction"].axes[0].get_ylabel()


def test_the_histogram_calls_connected_what_the_rows_do(pictures):
    figures, rows = pictures()
    fractions = rows[(rows.metric == "connected_fraction") & (rows.split == "train") & (rows.pair == "family")]
    labels = [text.get_text() for text in figures["barrier_histogram"].legends[0].get_texts()]
    for arm, own in fractions[fractions.level == 0].groupby("arm"):
        assert f"{arm}: {100 * own.value.mean():.0f} % connected" in labels


CONTROLS = (
    "arms.all@6random={pretrain: {steps: 6}, ticket: {mask: random}}",
    "arms.all@6signs={pretrain: {steps: 6}, ticket: {weights: sign_only}}",
    "arms.all@6rate={pretrain: {steps: 6}, ticket: {restart: learning_rate}}",
    "arms.all@6fine={pretrain: {steps: 6}, pruning: {fraction: 0.4}}",
)


def test_prediction_counts_each_rewinding_point_once_and_no_control(plan_tiny):
    plan = plan_tiny(*SETTINGS, *CONTROLS, "replicates=2")
    shared = {stage.address: stage.uses for stage in plan.stages.values() if stage.kind == "pretrain"}
    assert max(map(len, shared.values())) == 5
    rows = pd.DataFrame(
        [
            {
                "study": "tiny",
                "arm": use.arm,
                "replicate": use.replicate,
                "level": use.level,
                "density": 1.0,
                "step": 12,
                "address": stage.address,
                "kind": stage.kind,
                "value": number / 100,
                "metric": metric,
                "split": split,
                "pair": "family",
            }
            for number, stage in enumerate(plan.stages.values())
            for metric, split in (("accuracy", "test"), ("accuracy_recalibrated", "test"), ("barrier_mean", "train"))
            for use in stage.uses
        ]
    )
    points, _ = prediction_points(plan, rows)
    assert points["address"].is_unique
    assert set(points["address"]) == set(shared)
    assert list(dict.fromkeys(points["arm"])) == ["none@0", "all@2", "all@6", "random32@6", "easiest32@6"]
    levels = {(u.arm, u.replicate): n / 100 for n, s in enumerate(plan.stages.values()) if s.kind == "level"
              for u in s.uses if u.level == 2}  # fmt: skip
    assert [levels[who] for who in zip(points["arm"], points["replicate"], strict=True)] == list(points["sparse"])


def test_prediction_says_how_many_arms_it_goes_over(pictures):
    figures, _ = pictures()
    text = figures["prediction"].axes[0].get_title(loc="left")
    assert "5 rewinding points of 5 arms" in text
    assert "stronger than accuracy at the rewinding point by" in text
    alone = figures["prediction_pretraining"].axes[0].get_title(loc="left")
    assert "stronger" not in alone


def test_another_level_to_show_trains_nothing_new(plan_tiny):
    one, other = (plan_tiny(*SETTINGS, *settings) for settings in ([], ["measure.predict_level=1"]))
    assert list(one.stages) == list(other.stages)
