"""Verdicts as text: a table for a page, and sentences for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from ticketdiet.reports.verdict import Finding, Verdict

FORMAT = 1


def finding_sentence(finding: Finding) -> str:
    """Return a finding as one sentence: what is asked, the answer, the difference, its interval and n."""
    answers = {"supported": "Yes", "contradicted": "No, the opposite", "undecided": "Undecided"}
    answer = answers[finding.outcome]
    if finding.n == 0:
        return f"{answer}: {finding.question}. {finding.reason}"
    numbers = f"{finding.metric} {signed(finding.difference)}"
    interval = "" if math.isnan(finding.low) else f", interval {signed(finding.low)} to {signed(finding.high)}"
    p = "" if math.isnan(finding.p_value) else f", corrected p = {finding.p_value:.3g}"
    control = "" if finding.decides else "Control. "
    why = f" {sentence(finding.reason)}" if finding.reason else ""
    return f"{control}{answer}: {finding.question} ({numbers}{interval}{p}, n = {finding.n}).{why}"


def verdict_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as Markdown: those that are contradicted come first, then the undecided ones."""
    order = {"contradicted": 0, "undecided": 1, "supported": 2}
    parts = []
    for verdict in sorted(verdicts, key=lambda verdict: order[verdict.outcome]):
        findings = "\n".join(f"- {finding_sentence(finding)}" for finding in verdict.findings)
        parts.append(
            f"### {verdict.claim}: {verdict.outcome}\n\n{verdict.statement}\n\n{findings}\n\nRule: {verdict.rule}\n"
        )
    return "\n".join(parts)


def verdicts_json(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as JSON; numbers that do not exist are null."""
    return json.dumps({"format": FORMAT, "verdicts": [_plain(asdict(verdict)) for verdict in verdicts]}, indent=2)


def signed(value: float) -> str:
    """Return a difference with its sign, to four decimals."""
    return "unknown" if math.isnan(value) else f"{value:+.4f}"


def sentence(text: str) -> str:
    """Return a reason as a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
