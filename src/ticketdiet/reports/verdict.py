"""What a claim comes to on the results at hand: the verdict, and the findings that decided it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Finding:
    """One question of a claim's rule, and what the results say to it.

    Attributes:
        question: What is asked, in words that need no other: "all@400 above none@0 at density 0.035".
        outcome: Whether the results support it, contradict it, or leave it undecided.
        metric: What was compared: ``"test accuracy"``, ``"rank correlation"``, ...
        difference: The number that decides, for example a mean paired difference; NaN when there is none.
        low: Lower end of its interval; NaN where ``reason`` says why.
        high: Upper end, likewise.
        n: Number of replicates, or of rewinding points, that it rests on.
        p_value: Corrected for the number of questions of the claim; NaN when there is none.
        smallest_p: Least p-value, before the correction, that n replicates can reach; NaN when there is no test.
        reason: Why nothing could be decided, in one sentence; empty when something was.
        bound: What the difference is asked to be above: 0, or minus the margin of a question for "no worse".
        decides: Whether the verdict depends on it; otherwise it is a control that is reported beside the verdict.
    """

    question: str
    outcome: Outcome
    metric: str
    difference: float
    low: float
    high: float
    n: int
    p_value: float
    smallest_p: float
    reason: str
    bound: float = 0.0
    decides: bool = True


@dataclass(frozen=True)
class Verdict:
    """What a claim comes to.

    Attributes:
        claim: ``"C1"`` to ``"C7"``.
        statement: The claim in one sentence.
        rule: The rule by which it is judged, as it was written before the runs.
        outcome: Supported, contradicted, or undecided at this size.
        findings: The questions of the rule with their answers, in its order.
        reason: Why the outcome follows from the findings, in one or two sentences.
        study: Name of the study that was judged.
    """

    claim: str
    statement: str
    rule: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    reason: str
    study: str
