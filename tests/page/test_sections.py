"""What the sections say, against the results themselves."""

import base64
import csv
import gzip
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ticketdiet.page.accuracy import accuracy_section
from ticketdiet.page.barriers import barrier_section
from ticketdiet.page.caveats import caveat_section
from ticketdiet.page.cost import cost_section
from ticketdiet.page.images import image_section
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.masks import mask_section
from ticketdiet.page.repeat import repeat_section, study_yaml
from ticketdiet.page.rows import escaped, latex_table, row_section
from ticketdiet.page.verdicts import verdicts_section
from ticketdiet.reports import stage_costs
from ticketdiet.reports.published import distance, published_curves
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.rows import final_rows
from ticketdiet.reports.statistics import compare
from ticketdiet.studies.load import builtin_names, load_spec, parse_study


def imagined(study_input, values):
    """The study with other accuracies: arm -> level -> one value per replicate."""
    rows = pd.DataFrame(
        {
            "study": "tiny",
            "arm": arm,
            "replicate": replicate,
            "level": level,
            "density": 0.5**level,
            "step": 12,
            "metric": "accuracy",
            "split": "test",
            "value": value,
            "address": "0" * 24,
        }
        for arm, levels in values.items()
        for level, replicates in levels.items()
        for replicate, value in enumerate(replicates)
    )
    found = study_input.results
    return StudyInput(StudyResults(found.plan, rows, found.state, found.store), "tiny")


SURE = {
    "none@0": {0: [0.90, 0.91, 0.92, 0.90, 0.91, 0.93, 0.92], 1: [0.50, 0.51, 0.52, 0.53, 0.51, 0.50, 0.52]},
    "all@4": {0: [0.90, 0.91, 0.93, 0.91, 0.90, 0.92, 0.93], 1: [0.80, 0.81, 0.83, 0.82, 0.81, 0.82, 0.80]},
    "easiest32@4": {0: [0.90, 0.92, 0.91, 0.92, 0.91, 0.90, 0.92], 1: [0.49, 0.52, 0.54, 0.52, 0.50, 0.52, 0.51]},
}


def test_arms_are_compared_at_the_sparsest_level_as_the_command_line_does(study_input):
    study = imagined(study_input, SURE)
    (one,) = verdicts_section(study).comparisons
    above, open_ = one.arms
    row, other = compare(study.results.rows, baseline="none@0", level=1).to_dict("records")
    assert (above.side, above.n) == (row["outcome"], row["n"]) == ("above", 7)
    assert (above.difference, above.low, above.high) == pytest.approx(
        (100 * row["difference"], 100 * row["low"], 100 * row["high"])
    )
    assert f"{above.difference:.2f} percentage points above none@0" in above.sentence
    assert f"interval +{above.low:.2f} to +{above.high:.2f}; n\u00a0=\u00a07" in above.sentence
    assert f"corrected for these arms, is {row['corrected_p']:.3g}." in above.sentence
    assert open_.side == "undecided"
    assert other["reason"].endswith(open_.reason)
    assert f"The difference is undecided: {open_.reason}." in open_.sentence
    assert one.lead == (
        "Test accuracy at 50.0 % density: none@0 is at 51.3\u00a0%, the other arms at 51.4 to 81.3. "
        "all@4 is above none@0. For easiest32@4 the difference is undecided."
    )


def test_one_replicate_decides_nothing(study_input):
    values = {arm: {0: [0.9 + number / 100]} for number, arm in enumerate(SURE)}
    (one,) = verdicts_section(imagined(study_input, values)).comparisons
    assert {arm.side for arm in one.arms} == {"undecided"}
    why = "one replicate has neither a spread nor a p-value"
    assert f"The difference is undecided: {why}." in one.arms[0].sentence
    assert one.lead.endswith(f"With 1\u00a0replicate no difference is decided: {why}.")


def test_the_sparsest_level_that_two_arms_have_is_compared(study_input):
    values = SURE | {"none@0": {0: SURE["none@0"][0]}}
    (one,) = verdicts_section(imagined(study_input, values)).comparisons
    assert one.title == "Test accuracy at 100 % density"


def test_another_baseline_can_be_asked_for(study_input):
    chosen = StudyInput(imagined(study_input, SURE).results, "tiny", baseline="all@4")
    (one,) = verdicts_section(chosen).comparisons
    assert [arm.arm for arm in one.arms] == ["none@0", "easiest32@4"]


def test_bars_are_within_their_ends(study_input):
    for one in verdicts_section(study_input).comparisons:
        places = [one.percent(end) for arm in one.arms for end in (arm.low, arm.high) if not math.isnan(end)]
        assert all(0 <= place <= 100 for place in places)
        assert one.percent(0.0) == 50


def test_the_numbers_below_the_chart_are_those_of_the_rows(study_input, gallery):
    section = accuracy_section(study_input, gallery)
    final = final_rows(study_input.results.rows)
    assert [row.arm for row in section.rows] == study_input.arms
    for row in section.rows:
        for level, cell in enumerate(row.cells):
            own = final[(final["arm"] == row.arm) & (final["level"] == level)]["value"]
            assert cell.mean == f"{100 * own.mean():.1f} ± {100 * own.std(ddof=1):.1f}"
    wide, narrow = section.charts
    assert wide.lines == narrow.lines
    assert [point.mean for point in wide.lines[0].points] == pytest.approx(
        100 * final[final["arm"] == "none@0"].groupby("level")["value"].mean().to_numpy()
    )


def test_a_published_curve_is_dotted_in_the_colour_of_its_arm_and_named_with_its_source(study_input, gallery):
    curve = published_curves()[0]
    found = StudyInput(study_input.results, "tiny", curves={"all@4": curve})
    section = accuracy_section(found, gallery)
    ours, published = section.lines[1], section.lines[-1]
    assert (published.colour, published.published) == (ours.colour, True)
    assert [point.mean for point in published.points] == pytest.approx(100 * curve.means)
    assert section.sources == (curve.source,)
    assert section.distances == (distance(study_input.results.rows, "all@4", curve),)
    assert section.distances[0].points == 1  # the dense networks; other densities are no powers of 0.8


def test_what_a_diet_shows_is_counted(study_input, studied):
    section = cost_section(study_input, studied.store)
    by_arm = {arm.arm: arm for arm in section.arms}
    assert {name: arm.unique for name, arm in by_arm.items()} == {"none@0": 0, "all@4": 64, "easiest32@4": 32}
    assert by_arm["all@4"].of == 96
    assert by_arm["all@4"].pretraining.steps == 4 * 2
    # three levels of 12 steps, and two children, of two replicates; 4 of the 12 steps of each are the pre-training
    assert by_arm["none@0"].cost.steps == 2 * (3 + 2) * 12
    assert by_arm["all@4"].cost.steps == 2 * (4 + (3 + 2) * 8)
    assert section.whole == studied.plan.cost()
    seconds = [studied.store.manifest(address).provenance["seconds"] for address in studied.plan.stages]
    assert section.seconds == pytest.approx(sum(seconds))
    assert section.baseline == "all@4"
    saved = {arm.arm: arm for arm in section.saved}
    assert set(saved) == {"none@0", "easiest32@4"}
    assert saved["easiest32@4"].unique == pytest.approx(32 / 64)
    assert saved["easiest32@4"].steps == 1
    assert saved["easiest32@4"].steps_scored == pytest.approx((4 + 2 * 6) / 4)  # two networks of six steps
    assert (saved["none@0"].unique, saved["none@0"].n) == (0, 2)
    assert "easiest32@4 sees up to 32 different examples (33\u00a0% of the training images)" in section.lead


def test_energy_is_that_of_the_stages_of_an_arm_where_it_was_read(study_input, studied, monkeypatch):
    monkeypatch.setattr(stage_costs, "energy_of", lambda provenance: stage_costs.Energy(2000.0, True))
    section = cost_section(study_input, studied.store)
    assert (section.has_energy, section.is_estimated) == (True, True)
    assert section.joules == 2000 * len(studied.plan.stages)
    arms = {arm.arm: arm.joules for arm in section.arms}
    own = [address for address, stage in studied.plan.stages.items() if any(use.arm == "none@0" for use in stage.uses)]
    assert arms["none@0"] == 2000 * len(studied.plan.reached_from(own))
    monkeypatch.setattr(stage_costs, "energy_of", lambda provenance: stage_costs.Energy(math.nan, False))
    assert not cost_section(study_input, studied.store).has_energy


def test_barriers_are_means_over_the_families(study_input, gallery):
    section = barrier_section(study_input, gallery)
    for row in section.rows:
        own = [family.per_example("train") for family in study_input.results.families if family.arm == row.arm]
        assert float(row.train.replace("\u2212", "-")) == pytest.approx(np.mean(own), abs=6e-4)
        assert row.n == 2
        connected = np.mean(np.stack(own) <= study_input.results.tolerance)
        assert row.connected == f"{100 * connected:.0f}\u00a0%"
    assert {figure.name for figure in section.figures} >= {"tiny-barrier_alpha", "tiny-barrier_histogram"}


def test_pictures_are_those_of_the_subset_and_of_what_is_not_connected(study_input, gallery):
    section = image_section(study_input, gallery)
    assert [one.title for one in section.fed] == ["easiest32@4"]
    assert "of its 32 examples" in section.fed[0].text
    assert base64.b64decode(section.fed[0].png).startswith(b"\x89PNG")
    assert [one.title for one in section.disconnected] == study_input.arms
    for one in section.disconnected:
        families = [f.per_example("train") for f in study_input.results.families if f.arm == one.title]
        away = np.mean(np.stack(families) > study_input.results.tolerance)
        assert one.text.startswith(f"{100 * away:.0f}\u00a0% of the training examples are not connected")


def test_a_study_without_scores_has_no_pictures_and_says_why(study_input, gallery):
    plan = study_input.results.plan.only(["none@0", "all@4"])
    found = study_input.results
    section = image_section(StudyInput(StudyResults(plan, found.rows, found.state, found.store), "tiny"), gallery)
    assert not section.fed
    assert section.note.startswith("The store holds no pictures of this study.")


def test_masks_are_drawn_and_empty_layers_named(study_input, gallery):
    section = mask_section(study_input, gallery)
    assert [figure.name for figure in section.figures] == ["tiny-layer_density"]
    assert not section.note


def test_few_replicates_and_missing_stages_are_problems_and_come_first(study_input, studied):
    whole = caveat_section(study_input, studied.store, {}, ())
    assert [caveat.title for caveat in whole.caveats if caveat.is_problem] == ["Spread"]
    assert whole.done == whole.total == len(studied.plan.stages)
    assert f"they reach {stats.t.ppf(0.975, 1):.1f} standard errors to either side" in whole.caveats[0].text
    gone = next(iter(studied.plan.stages))
    found = study_input.results
    state = type(found.state)(found.state.stages, (gone,), {})
    part = StudyInput(StudyResults(found.plan, found.rows, state, found.store), "tiny")
    named = caveat_section(part, studied.store, {"prediction": "There are no points."}, ("level · a: empty.",))
    assert named.done == named.total - 1
    texts = [line for caveat in named.caveats for line in (caveat.text, *caveat.items)]
    assert any(gone in line for line in texts)
    assert "prediction: There are no points." in texts
    assert "level · a: empty." in texts


@pytest.mark.parametrize("name", builtin_names())
def test_the_yaml_of_a_study_is_the_study(name):
    study = load_spec(name)
    assert parse_study(study_yaml(study)) == study


def test_a_study_that_is_not_built_in_is_repeated_from_its_yaml(study_input, studied):
    section = repeat_section(study_input, studied.store)
    assert "ticketdiet run tiny.yaml" in section.commands
    assert parse_study(section.yaml) == studied.spec
    assert {row.address for row in section.stages} == set(studied.plan.stages)
    assert {row.state for row in section.stages} == {"done"}
    assert any(version.startswith("torch ") for version in section.versions)


def test_the_rows_of_the_page_are_those_of_the_study(study_input):
    section, rows = row_section(study_input), study_input.results.rows
    text = gzip.decompress(base64.b64decode(section.csv)).decode()
    read = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["value"]) for row in read] == rows["value"].tolist()
    assert [row["address"] for row in read] == rows["address"].tolist()
    again = pd.read_parquet(io.BytesIO(base64.b64decode(section.parquet)))
    assert again["value"].tolist() == rows["value"].tolist()


def test_the_latex_table_has_mean_half_interval_and_n(study_input):
    rows = imagined(study_input, SURE).results.rows
    table = latex_table(rows, "Test accuracy", "accuracy", "test", 100.0, 2)
    values = 100 * np.array(SURE["all@4"][1])
    half = stats.t.ppf(0.975, 6) * stats.sem(values)
    assert r"all@4 & 7 & " in table.text
    assert f"${values.mean():.2f} \\pm {half:.2f}$" in table.text
    body = table.text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    assert len(body) == 3
    assert {line.count("&") for line in body} == {3}
    assert table.text.count("{") == table.text.count("}")


def test_nothing_in_latex_is_a_command_that_was_a_name():
    assert escaped(r"a_b & 50% $x$ #1 {y} ~ ^ \z") == (
        r"a\_b \& 50\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )


def test_the_sentences_of_the_page_agree_with_the_comparison_of_the_command_line(study_input):
    table = compare(study_input.results.rows, baseline="none@0", level=2)
    (accuracy, *_) = verdicts_section(study_input).comparisons
    for arm, row in zip(accuracy.arms, table.to_dict("records"), strict=True):
        assert arm.arm == row["arm"]
        assert arm.difference == pytest.approx(100 * row["difference"])
        assert re.search(rf"n\u00a0?.?=.?{row['n']}", arm.sentence)
