"""What each arm of a study takes, phase by phase: steps, examples, arithmetic, time and energy.

Paul et al. 2022 (arXiv 2206.01278) compare arms at equal numbers of pre-training steps. What an arm needs besides, such
as the networks of its score, is not in that number; here it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from ticketdiet.core.errors import UserError
from ticketdiet.reports.completeness import StudyState, study_state
from ticketdiet.reports.phases import SCOPES, needs_of
from ticketdiet.reports.savings import default_baseline, savings
from ticketdiet.reports.stage_costs import StageCosts
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage

ALL = "all"  # the phase of the rows that sum an arm up


@dataclass(frozen=True)
class Amounts:
    """What some stages take together.

    Attributes:
        stages: Number of stages.
        done: How many of them have a result.
        steps: SGD updates.
        examples: Examples shown in training, with repetition.
        unique_examples: Different training examples that are shown or scored; NaN when it cannot be known.
        flops: Floating-point operations of the trainings, all weights counted, a multiply-add as two.
        flops_kept: The same on kept weights; NaN until all masks are known.
        seconds: Wall times of all stages, added; NaN until all are done.
        joules: Energy of all stages, added; NaN until all are done, and where it was not read.
        is_estimated: Whether a part of the energy is an equal part of what several processes took together.
    """

    stages: int
    done: int
    steps: int
    examples: int
    unique_examples: float
    flops: int
    flops_kept: float
    seconds: float
    joules: float
    is_estimated: bool


@dataclass(frozen=True, eq=False)
class Accounting:
    """What a study takes.

    Attributes:
        study: Name of the study.
        rows: One row per arm, replicate and phase: ``study arm replicate phase shared_stages`` and the fields of
            :class:`Amounts`. Phase ``"all"`` is everything that the arm needs; its unique examples are fewer than the
            sum where phases show the same ones. ``shared_stages`` are those that another arm or replicate needs too:
            each arm counts them in full.
        scopes: The same columns, where the phase is one of the scopes of
            :data:`~ticketdiet.reports.phases.SCOPES`: some phases together.
        shared: What the rows count more than once.
        total: What the whole study takes, every stage counted once: the rows of phase ``"all"`` without ``shared``.
        level: The level whose networks are counted; None for all.
        baseline: The arm that savings are counted from by default: the one with the most pre-training steps on all
            data; None when no arm pre-trains on all data.
    """

    study: str
    rows: pd.DataFrame
    scopes: pd.DataFrame
    shared: Amounts
    total: Amounts
    level: int | None
    baseline: str | None

    def saved(self, baseline: str | None = None) -> pd.DataFrame:
        """Return what every arm saved beside a baseline arm; see :func:`~ticketdiet.reports.savings.savings`.

        Args:
            baseline: Name of the arm to compare with; by default :attr:`baseline`.

        Raises:
            UnknownName: When there is no such arm.
            UserError: When none is named and no arm pre-trains on all data.
        """
        chosen = baseline or self.baseline
        if chosen is None:
            raise UserError(
                f"No arm of {self.study} pre-trains on all data.",
                expected="an arm to compare the others with",
                way_out=f"name a baseline: one of {', '.join(dict.fromkeys(self.rows['arm']))}",
            )
        return savings(self.scopes, chosen)

    def lines(self) -> pd.DataFrame:
        """Return the rows, and two without an arm: phase ``"shared"`` and phase ``"study"``, the total."""
        whole = {"shared": self.shared, "study": self.total}
        ends = [{"study": self.study, "arm": "", "phase": name, **asdict(what)} for name, what in whole.items()]
        return pd.concat([self.rows, _frame(ends)], ignore_index=True)


def account(
    plan: Plan, store: ResultStore | None, *, level: int | None = None, costs: StageCosts | None = None
) -> Accounting:
    """Count what every arm of a study takes, in full, whoever shares it.

    Steps, examples and dense operations come from the plan, so that they are known before anything has run. The rest is
    read from the results.

    Args:
        plan: The stages of the study.
        store: Where their results are; those that are missing or damaged count as not done. None when there is no
            store yet.
        level: Count what leads to the network of this level alone; by default all levels. See
            :func:`~ticketdiet.reports.phases.needs_of` for what each phase is.
        costs: What the stages take, where somebody has read it already.

    Returns:
        Rows by arm, replicate and phase, and the totals.

    Raises:
        UserError: When no arm has such a level.
    """
    needs = needs_of(plan, level)
    if costs is None:
        nothing = StudyState(plan.stages, tuple(plan.stages), {})
        costs = StageCosts(plan, store, nothing if store is None else study_state(plan, store))
    users = Counter(stage.address for need in needs for stage in need.stages)
    rows, scopes = [], []
    for need in needs:
        who = {"study": plan.study.study, "arm": need.arm, "replicate": need.replicate}
        rows += [who | _row(phase, stages, costs, users) for phase, stages in need.phases.items()]
        rows.append(who | _row(ALL, need.stages, costs, users))
        scopes += [who | _row(scope, need.of(phases), costs, users) for scope, phases in SCOPES.items()]
    again = [plan.stages[address] for address, count in users.items() for _ in range(count - 1)]
    once = [plan.stages[address] for address in users]
    shared, total = _sum(again, costs), _sum(once, costs)
    return Accounting(plan.study.study, _frame(rows), _frame(scopes), shared, total, level, default_baseline(plan))


def _row(name: str, stages: Sequence[Stage], costs: StageCosts, users: Counter[str]) -> dict[str, object]:
    shared = sum(users[stage.address] > 1 for stage in stages)
    return {"phase": name, "shared_stages": shared, **asdict(_sum(stages, costs))}


def _sum(stages: Sequence[Stage], costs: StageCosts) -> Amounts:
    each = [costs.of(stage) for stage in stages]
    return Amounts(
        stages=len(each),
        done=sum(one.done for one in each),
        steps=sum(one.steps for one in each),
        examples=sum(one.examples for one in each),
        unique_examples=_unique(stages, costs),
        flops=sum(one.flops for one in each),
        flops_kept=sum(one.flops_kept for one in each),
        seconds=sum(one.seconds for one in each),
        joules=sum(one.joules for one in each),
        is_estimated=any(one.is_estimated for one in each),
    )


def _unique(stages: Iterable[Stage], costs: StageCosts) -> float:
    """Count the different examples, those of different images apart."""
    by_images: dict[str, dict[int, np.ndarray]] = {}
    for stage in {stage.address: stage for stage in stages}.values():
        shown = costs.shown(stage)
        if shown is None:
            return math.nan
        # Most stages of an arm read the same examples, which costs keeps once.
        by_images.setdefault(shown.fingerprint, {})[id(shown.indices)] = shown.indices
    return sum(_count_different(list(choices.values())) for choices in by_images.values())


def _count_different(choices: Sequence[np.ndarray]) -> int:
    seen = np.zeros(max(int(indices.max(initial=-1)) for indices in choices) + 1, dtype=bool)
    for indices in choices:
        seen[indices] = True
    return int(np.count_nonzero(seen))


def _frame(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    columns = ["study", "arm", "replicate", "phase", "shared_stages", *(field.name for field in fields(Amounts))]
    table = pd.DataFrame(rows, columns=columns)
    whole = dict.fromkeys(("replicate", "shared_stages", "unique_examples"), "Int64")
    numbers = dict.fromkeys(("flops_kept", "seconds", "joules"), "float64")
    return table.astype(whole | numbers)
