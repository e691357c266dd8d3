"""Verdicts on evidence that is built to support a claim, to contradict it, or to decide nothing."""

import json
import math

import pandas as pd
import pytest

from ticketdiet.paper.claims.catalog import CLAIMS
from ticketdiet.paper.judge import judge
from ticketdiet.paper.setting import load_setting
from ticketdiet.paper.verdict_text import finding_sentence, verdict_markdown, verdicts_json

SETTING = load_setting()
SPARSE, MATCHING = SETTING.level(SETTING.sparse), SETTING.level(SETTING.matching)
EVERY, LATER = f"all@{SETTING.early}", f"all@{SETTING.late}"
EASIEST, HARDEST, RANDOM = (f"{kind}{SETTING.size}@{SETTING.early}" for kind in ("easiest", "hardest", "random"))
LOWEST = f"lowest-barrier{SETTING.size}@{SETTING.early}"
NOISY = [f"{kind}-noise50@{SETTING.early}" for kind in (f"easiest{SETTING.size}", "all")]
LANDSCAPE = ("none@0", EVERY, LATER, RANDOM, EASIEST, HARDEST)

# Claim -> (accuracies that support it, accuracies that contradict it), by arm and level.
C1 = {("none@0", 0): 0.7, (LATER, 0): 0.7, ("none@0", MATCHING): 0.6, (LATER, MATCHING): 0.7}
C2 = {(RANDOM, SPARSE): 0.6, (EVERY, SPARSE): 0.6, ("none@0", SPARSE): 0.5}
C3 = {(EASIEST, SPARSE): 0.62, (EVERY, SPARSE): 0.6, (LATER, SPARSE): 0.62, (HARDEST, SPARSE): 0.55}
C4 = {(NOISY[0], SPARSE): 0.6, (NOISY[1], SPARSE): 0.5, (EASIEST, SPARSE): 0.62, (EVERY, SPARSE): 0.6}
C7 = {(LOWEST, SPARSE): 0.62, (EVERY, SPARSE): 0.6, (EASIEST, SPARSE): 0.62, (RANDOM, SPARSE): 0.6}
BUILT = {
    "C1": (C1, C1 | {(LATER, MATCHING): 0.65}),
    "C2": (C2, C2 | {(RANDOM, SPARSE): 0.57}),
    "C3": (C3, C3 | {(HARDEST, SPARSE): 0.64}),
    "C4": (C4, C4 | {(NOISY[1], SPARSE): 0.59}),
    "C7": (C7, C7 | {(EASIEST, SPARSE): 0.64}),
}


@pytest.mark.parametrize("name", list(BUILT))
def test_evidence_that_is_built_for_a_claim_supports_it(name, rows_of):
    verdict = judge(CLAIMS[name], SETTING, rows_of(BUILT[name][0]))
    assert verdict.outcome == "supported"
    assert {finding.outcome for finding in verdict.findings if finding.decides} == {"supported"}
    assert all(finding.n == 8 for finding in verdict.findings if finding.decides)


@pytest.mark.parametrize("name", list(BUILT))
def test_evidence_that_is_built_against_a_claim_contradicts_it(name, rows_of):
    verdict = judge(CLAIMS[name], SETTING, rows_of(BUILT[name][1]))
    assert verdict.outcome == "contradicted"
    assert verdict.reason.startswith("The opposite is declared for 1 of ")


@pytest.mark.parametrize("name", list(BUILT))
def test_evidence_with_much_noise_decides_rarely(name, rows_of):
    equal = dict.fromkeys(BUILT[name][0], 0.6)
    outcomes = [judge(CLAIMS[name], SETTING, rows_of(equal, own=0.05, seed=seed)).outcome for seed in range(12)]
    assert outcomes.count("undecided") >= 10  # each question is wrong in one of twenty, at most


@pytest.mark.parametrize("name", list(BUILT))
def test_three_replicates_decide_nothing_however_clear_they_are(name, rows_of):
    verdict = judge(CLAIMS[name], SETTING, rows_of(BUILT[name][0], replicates=3))
    assert verdict.outcome == "undecided"
    assert all("n = 3" in finding.reason for finding in verdict.findings if finding.decides)
    assert verdict.findings[0].smallest_p == 0.25


@pytest.mark.parametrize("name", list(CLAIMS))
def test_without_evidence_every_claim_is_undecided(name, rows_of):
    verdict = judge(CLAIMS[name], SETTING, rows_of({}, replicates=0))
    assert verdict.outcome == "undecided"
    assert all(finding.n == 0 and math.isnan(finding.difference) for finding in verdict.findings)


def landscape(rows_of, sign, example=0.3):
    """Accuracies that rise along the arms, barriers that fall with ``sign`` 1, and a useless other predictor."""
    places = {arm: place for place, arm in enumerate(LANDSCAPE)}
    mixed = dict(zip(LANDSCAPE, (3, 0, 4, 1, 5, 2), strict=True))
    family = {"kind": "barrier", "pair": "family", "split": "train"}

    def at_points(values, metric, **columns):
        scaled = {(arm, 0): value for arm, value in values.items()}
        return rows_of(scaled, metric=metric, own=0.2, shared=0.1, **columns)

    accuracies = rows_of({(arm, SPARSE): 0.5 + place / 50 for arm, place in places.items()}, own=0.008)
    parts = [
        accuracies,
        at_points({arm: -sign * place for arm, place in places.items()}, "barrier_mean", **family),
        at_points({arm: sign * place for arm, place in places.items()}, "connected_fraction", **family),
        at_points(mixed, "accuracy_recalibrated", kind="pretrain").assign(level=None),
        rows_of({(EVERY, 0): sign * example}, metric="barrier_score_correlation", **family),
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("name", ["C5", "C6"])
def test_correlations_that_are_built_for_a_claim_support_it(name, rows_of):
    assert judge(CLAIMS[name], SETTING, landscape(rows_of, 1)).outcome == "supported"


@pytest.mark.parametrize("name", ["C5", "C6"])
def test_correlations_of_the_wrong_sign_contradict_a_claim(name, rows_of):
    assert judge(CLAIMS[name], SETTING, landscape(rows_of, -1)).outcome == "contradicted"


def test_a_difference_for_no_worse_is_told_as_it_is_and_tested_against_the_margin(rows_of):
    verdict = judge(CLAIMS["C2"], SETTING, rows_of(C2 | {(RANDOM, SPARSE): 0.596}, own=0.0005))
    finding = verdict.findings[0]
    assert finding.outcome == "supported"
    assert finding.difference == pytest.approx(-0.004, abs=0.001)
    assert finding.low <= finding.difference <= finding.high < 0
    assert finding.bound == -0.01


def test_p_values_of_deciding_questions_are_corrected_among_themselves(rows_of):
    verdict = judge(CLAIMS["C3"], SETTING, rows_of(C3))
    assert [finding.p_value for finding in verdict.findings[:3]] == [3 / 128] * 3


def test_controls_are_reported_and_decide_nothing(rows_of):
    like, balanced = f"random{SETTING.size}-like-easiest", f"easiest{SETTING.size}-balanced"
    against = {(f"{like}@{SETTING.early}", SPARSE): 0.7, (f"{balanced}@{SETTING.early}", SPARSE): 0.5}
    verdict = judge(CLAIMS["C3"], SETTING, rows_of(C3 | against))
    assert verdict.outcome == "supported"
    assert [finding.outcome for finding in verdict.findings if not finding.decides] == ["contradicted"] * 2


def test_the_rule_in_words_names_every_deciding_question_and_no_control():
    for claim in CLAIMS.values():
        rule = claim.rule(SETTING)
        for question in claim.questions(SETTING):
            assert (question.text in rule) == question.decides


def test_a_verdict_is_told_with_its_numbers(rows_of):
    verdict = judge(CLAIMS["C1"], SETTING, rows_of(C1))
    told = finding_sentence(verdict.findings[0])
    assert told.startswith(f"Yes: {LATER} is above none@0 at density 0.0687 (test accuracy +0.1")
    assert "n = 8" in told
    assert "corrected p = " in told
    page = verdict_markdown([verdict, judge(CLAIMS["C2"], SETTING, rows_of(BUILT["C2"][1]))])
    assert page.index("C2: contradicted") < page.index("C1: supported")


def test_verdicts_are_legal_json_also_where_nothing_is_known(rows_of):
    verdict = judge(CLAIMS["C1"], SETTING, rows_of({}, replicates=0))
    found = json.loads(verdicts_json([verdict]), parse_constant=pytest.fail)
    assert found["verdicts"][0]["findings"][0]["difference"] is None
