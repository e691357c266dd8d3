"""From rows to verdicts, by the rules that the claims wrote beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ticketdiet.paper.claim import Claim, Question
from ticketdiet.paper.setting import Setting
from ticketdiet.reports.paired import PairedDifference, holm, paired_difference
from ticketdiet.reports.verdict import Finding, Outcome, Verdict

CONFIDENCE = 0.95
_OUTCOMES: dict[str, Outcome] = {"above": "supported", "below": "contradicted", "undecided": "undecided"}


def judge(claim: Claim, setting: Setting, rows: pd.DataFrame) -> Verdict:
    """Judge a claim on the rows at hand.

    The p-values of the questions that decide are corrected among themselves, and so are those of the controls (Holm
    1979). A question is answered when the corrected test and the interval agree.

    Args:
        claim: The claim, with its rule.
        setting: Network, data and scale that were run.
        rows: Tidy rows of the claim's study, as :func:`~ticketdiet.paper.evidence.evidence_rows` gives them; those of
            replicates that are not finished are passed over.

    Returns:
        The verdict with every finding.
    """
    questions = claim.questions(setting)
    samples = {question: question.contrast(rows).to_numpy(np.float64) for question in questions}
    findings: dict[Question, Finding] = {}
    for decides in (True, False):
        group = [question for question in questions if question.decides is decides]
        findings |= dict(zip(group, _answers(group, [samples[question] for question in group]), strict=True))
    ordered = tuple(findings[question] for question in questions)
    outcome = _together([finding.outcome for finding in ordered if finding.decides])
    return Verdict(
        claim=claim.name,
        statement=claim.statement,
        rule=claim.rule(setting),
        outcome=outcome,
        findings=ordered,
        reason=_because(outcome, [finding for finding in ordered if finding.decides]),
        study=f"{claim.name.lower()}-{setting.name}",
    )


def _answers(questions: Sequence[Question], samples: Sequence[np.ndarray]) -> list[Finding]:
    first = [_test(question, sample) for question, sample in zip(questions, samples, strict=True)]
    corrected = holm([np.nan if found is None else found.p_value for found in first])
    return [
        _finding(question, sample, float(p)) for question, sample, p in zip(questions, samples, corrected, strict=True)
    ]


def _test(question: Question, sample: np.ndarray, p_value: float | None = None) -> PairedDifference | None:
    if not sample.size:
        return None
    bound = np.full_like(sample, question.above)
    return paired_difference(sample, bound, confidence=CONFIDENCE, p_value=p_value)


def _finding(question: Question, sample: np.ndarray, p_value: float) -> Finding:
    found = _test(question, sample, None if np.isnan(p_value) else p_value)
    if found is None:
        nothing = float("nan")
        return Finding(
            question.text, "undecided", question.metric, nothing, nothing, nothing, 0, nothing, nothing,
            "No replicate has finished what this asks for.", question.above, question.decides,
        )  # fmt: skip
    return Finding(
        question=question.text,
        outcome=_OUTCOMES[found.outcome],
        metric=question.metric,
        difference=found.mean + question.above,
        low=found.low + question.above,
        high=found.high + question.above,
        n=found.n,
        p_value=found.corrected_p,
        smallest_p=found.smallest_p,
        reason=found.reason,
        bound=question.above,
        decides=question.decides,
    )


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    if "contradicted" in outcomes:
        return "contradicted"
    return "supported" if all(outcome == "supported" for outcome in outcomes) else "undecided"


def _because(outcome: Outcome, findings: Sequence[Finding]) -> str:
    if outcome == "supported":
        return f"All {len(findings)} questions of the rule are answered with yes."
    named = [finding for finding in findings if finding.outcome == outcome]
    word = "The opposite is declared" if outcome == "contradicted" else "Nothing is declared"
    listed = "; ".join(f"{finding.question} ({finding.reason or 'see the interval'})" for finding in named)
    return f"{word} for {len(named)} of {len(findings)} questions: {listed}."
