import pytest

from ticketdiet.reports.reading import read_rows
from ticketdiet.reports.rows import final_rows
from ticketdiet.reports.study_figures import study_figures
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.planner import plan_study
from ticketdiet.studies.run import run_plan

STUDY = """
study: pictured
dataset: {name: digits, limit: 96}
model: {name: resnet8, width: 4}
training: {steps: 12, batch_size: 16, lr: 0.1, crop_padding: 1, flip: false, precision: float32}
pruning: {fraction: 0.5, levels: 2}
children: 2
scores:
  el2n: {kind: el2n, models: 1, steps: 6}
arms:
  none@0: {}
  all@2: {pretrain: {steps: 2}}
  all@6: {pretrain: {steps: 6}}
  easiest32@6: {pretrain: {steps: 6, subset: {kind: easiest, size: 32, score: el2n}}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = ResultStore.open(tmp_path_factory.mktemp("pictured") / "store")
    plan = plan_study(parse_study(STUDY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ticketdiet.studies.run.cpu_count", lambda: 1)
        run_plan(plan, store, workers=1)
    return store


def pictures(store, *settings):
    plan = plan_study(parse_study(STUDY, settings))
    rows = read_rows(plan, store)
    return study_figures(plan, store, rows), rows


def test_a_study_with_children_has_the_figures_of_the_landscape(finished):
    figures, _ = pictures(finished)
    assert set(figures) == {
        "accuracy",
        "barrier_alpha",
        "barrier_histogram",
        "connected_share",
        "barrier_against_el2n",
        "prediction",
        "prediction_connected",
        "prediction_pretraining",
    }


def test_a_study_without_finished_children_has_the_accuracy_alone(finished):
    figures, _ = pictures(finished, "children=0")
    assert set(figures) == {"accuracy"}


@pytest.mark.parametrize("level", [0, 1])
def test_prediction_shows_the_accuracy_of_the_level_that_is_asked_for(finished, level):
    figures, rows = pictures(finished, f"measure.predict_level={level}")
    axes = figures["prediction"].axes[0]
    shown = sorted(y for line in axes.lines for y in line.get_ydata())
    accuracy = final_rows(rows)
    assert shown == pytest.approx(sorted(100 * accuracy[accuracy.level == level].value))
    assert f"density {['100', '50.0'][level]} %" in axes.get_ylabel()


def test_prediction_is_of_the_sparsest_level_by_default(finished):
    figures, _ = pictures(finished)
    assert "density 25.0 %" in figures["prediction"].axes[0].get_ylabel()


def test_another_level_to_show_trains_nothing_new(finished):
    one, other = (plan_study(parse_study(STUDY, s)) for s in ([], ["measure.predict_level=1"]))
    assert list(one.stages) == list(other.stages)
