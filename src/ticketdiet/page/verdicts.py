"""Section 1: the verdicts in plain words. What the claims come to, or how the arms compare, with interval and n."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ticketdiet.core.errors import UserError
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.words import HARD_SPACE, count, names, plain, signed
from ticketdiet.reports.paired import DifferenceOutcome
from ticketdiet.reports.statistics import compare, summarise
from ticketdiet.reports.table import format_density
from ticketdiet.reports.verdict import Verdict


@dataclass(frozen=True)
class Metric:
    """What arms are compared by.

    Attributes:
        name: In the rows.
        split: Likewise.
        scale: From the rows to the page.
        unit: Of a difference, in words.
        short: Unit of a value.
        digits: After the point.
    """

    name: str
    split: str
    scale: float
    unit: str
    short: str
    digits: int


ROOM = 1.05  # a mark at the end of a bar is not cut
ACCURACY = Metric("accuracy", "test", 100.0, "percentage points", "%", 1)
BARRIER = Metric("barrier_mean", "train", 1.0, "nats", "nats", 2)


@dataclass(frozen=True)
class Against:
    """One arm against the baseline.

    Attributes:
        arm: The arm.
        mean: Its mean, in the unit of the metric.
        sentence: The comparison in words.
        side: What the difference is declared to be.
        reason: Why it is undecided; "" when it is decided.
        difference: Mean paired difference, in the unit of the metric.
        low: Lower end of its interval, NaN for none.
        high: Upper end, likewise.
        n: Number of paired replicates.
    """

    arm: str
    mean: float
    sentence: str
    side: DifferenceOutcome
    reason: str
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline, by one metric.

    Attributes:
        title: What is compared, and where.
        lead: What comes out, in one or two sentences.
        baseline: The baseline with its mean.
        arms: The others.
        reach: Largest distance from 0 that the bars show.
        unit: Of the differences.
    """

    title: str
    lead: str
    baseline: str
    arms: tuple[Against, ...]
    reach: float
    unit: str

    def percent(self, value: float) -> float:
        """Place of a difference on the bar, in percent from the left; what is beyond the ends is at the end."""
        return 50 + 50 * max(-1.0, min(1.0, value / self.reach))


@dataclass(frozen=True)
class VerdictsSection:
    """What the results come to.

    Attributes:
        verdicts: On the claims that the study covers.
        comparisons: Of the arms, by accuracy and by barrier.
        note: Why there are none; "" when there are.
    """

    verdicts: tuple[Verdict, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    note: str = ""

    @property
    def leads(self) -> tuple[str, ...]:
        """The answer, for who reads nothing else."""
        judged = tuple(f"{verdict.claim}, {verdict.outcome}: {verdict.statement}" for verdict in self.verdicts)
        return judged or tuple(comparison.lead for comparison in self.comparisons)


def verdicts_section(study: StudyInput) -> VerdictsSection:
    """Return the verdicts on a study, and the comparison of its arms at the sparsest level and in the landscape."""
    found = (_by_accuracy(study), _compared(study, BARRIER, 0, "Barrier between dense children (train loss)"))
    comparisons = tuple(one for one in found if one is not None)
    note = "" if study.verdicts or comparisons else _why_none(study)
    return VerdictsSection(tuple(study.verdicts), comparisons, note)


def _why_none(study: StudyInput) -> str:
    if len(study.arms) < 2:
        return "The study has one arm, so there is nothing to compare."
    return "No level of two arms is finished yet, so nothing can be compared."


def _by_accuracy(study: StudyInput) -> Comparison | None:
    """Compare at the sparsest level that the baseline and another arm have."""
    try:
        summary = summarise(study.results.rows)
    except UserError:
        return None
    own = summary[summary["arm"] == study.compared_with].set_index("level")["density"]
    for level in sorted(own.index, reverse=True):
        found = _compared(study, ACCURACY, int(level), f"Test accuracy at {format_density(float(own[level]))} density")
        if found is not None:
            return found
    return None


def _compared(study: StudyInput, metric: Metric, level: int, title: str) -> Comparison | None:
    rows, baseline = study.results.rows, study.compared_with
    try:
        table = compare(rows, baseline=baseline, metric=metric.name, split=metric.split, level=level)
        summary = summarise(rows, metric=metric.name, split=metric.split)
    except UserError:
        return None
    arms = tuple(_against(row, metric) for row in table.to_dict("records"))
    if not arms:
        return None
    own = summary[(summary["arm"] == baseline) & (summary["level"] == level)]["mean"]
    mean = _value(float(own.iloc[0]), metric)
    return Comparison(
        title=title,
        lead=_lead(title, baseline, metric, mean, arms),
        baseline=f"{baseline} ({mean})",
        arms=arms,
        reach=_reach(arms),
        unit=metric.unit,
    )


def _reach(arms: Sequence[Against]) -> float:
    """Half of the width of the bars: all intervals, but not so wide that the differences cannot be told from 0."""
    known = [abs(arm.difference) for arm in arms if not math.isnan(arm.difference)]
    ends = [abs(end) for arm in arms for end in (arm.low, arm.high) if not math.isnan(end)]
    return ROOM * min(max([*ends, *known], default=0.0), 4 * max(known, default=0.0)) or 1.0


def _value(value: float, metric: Metric) -> str:
    return f"{plain(metric.scale * value, metric.digits)}{HARD_SPACE}{metric.short}"


def _against(row: dict[Hashable, Any], metric: Metric) -> Against:
    difference, low, high = (metric.scale * float(row[name]) for name in ("difference", "low", "high"))
    digits, n = metric.digits + 1, int(row["n"])
    ends = "" if math.isnan(low) else f"95{HARD_SPACE}% interval {signed(low, digits)} to {signed(high, digits)}; "
    sentence = f"{row['arm']} is at {_value(row['mean'], metric)}, {_distance(difference, digits, metric)} "
    sentence += f"{row['baseline']} ({ends}n{HARD_SPACE}={HARD_SPACE}{n}). {_judged(row)}"
    return Against(
        arm=str(row["arm"]),
        mean=metric.scale * float(row["mean"]),
        sentence=sentence,
        side=row["outcome"],
        reason=_reason(row["reason"]),
        difference=difference,
        low=low,
        high=high,
        n=n,
    )


def _distance(difference: float, digits: int, metric: Metric) -> str:
    if math.isnan(difference):
        return "which cannot be compared with"
    if round(difference, digits) == 0:
        return "equal to"
    return f"{abs(difference):.{digits}f} {metric.unit} {'above' if difference > 0 else 'below'}"


def _judged(row: dict[Hashable, Any]) -> str:
    if row["outcome"] == "undecided":
        return f"The difference is undecided: {_reason(row['reason'])}."
    return f"The interval excludes 0, and the exact p-value, corrected for these arms, is {row['corrected_p']:.3g}."


def _reason(text: str) -> str:
    """Return why a difference is undecided, without the outcome and n that stand beside it."""
    return text.partition("; ")[2]


def _lead(title: str, baseline: str, metric: Metric, mean: str, arms: Sequence[Against]) -> str:
    """Say in two or three sentences what came out."""
    sides = {side: [arm.arm for arm in arms if arm.side == side] for side in ("above", "below", "undecided")}
    said = [f"{names(sides[s])} {'is' if len(sides[s]) == 1 else 'are'} {s}" for s in ("above", "below") if sides[s]]
    rest = f" For {names(sides['undecided'])} the difference is undecided." if said and sides["undecided"] else ""
    if not said:
        reasons = {arm.reason for arm in arms}
        why = f": {reasons.pop()}" if len(reasons) == 1 else ""
        rest = f" With {count(max(arm.n for arm in arms), 'replicate')} no difference is decided{why}."
    others = [plain(end([arm.mean for arm in arms]), metric.digits) for end in (min, max)]
    span = " to ".join(dict.fromkeys(others))
    where = f"{title}: {baseline} is at {mean}, {'the other arm' if len(arms) == 1 else 'the other arms'} at {span}."
    decided = f" {' and '.join(said)} {baseline}." if said else ""
    return f"{where}{decided}{rest}"
