"""Section 3: what the arms take, and how much less their diets show to the network before the rewinding point."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.words import percent
from ticketdiet.reports.accounting import Accounting, account
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.stage_costs import StageCosts
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.network import Cost
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.subset import Subset


@dataclass(frozen=True)
class ArmCost:
    """What one arm takes, over all its replicates.

    Attributes:
        arm: Its name.
        pretrain_steps: Steps of one pre-training (k).
        unique: Different examples that one pre-training can see, at most.
        of: Training examples in all.
        pretraining: Cost of its pre-trainings.
        cost: Of all its stages; what several arms have in common is counted for each.
        seconds: Wall time of those that are finished, as their manifests tell.
        joules: Energy that was read while they were made; NaN when none was.
    """

    arm: str
    pretrain_steps: int
    unique: int
    of: int
    pretraining: Cost
    cost: Cost
    seconds: float
    joules: float

    @property
    def fraction(self) -> float:
        """Fraction of the training examples that pre-training can see."""
        return self.unique / max(1, self.of)


@dataclass(frozen=True)
class Saved:
    """What an arm takes beside the baseline of the accounting, as ratios: below 1 it takes less.

    Attributes:
        arm: The arm.
        unique: Ratio of the different examples in pre-training.
        steps: Ratio of the steps of pre-training.
        steps_scored: The same, with the networks of its scores.
        kept: Ratio of the operations on kept weights, with search and sparse training; NaN until all masks are known.
        n: Number of replicates.
    """

    arm: str
    unique: float
    steps: float
    steps_scored: float
    kept: float
    n: int


@dataclass(frozen=True)
class CostSection:
    """What the study takes.

    Attributes:
        lead: What the diets save, in words.
        arms: The arms.
        saved: The arms beside the baseline.
        baseline: The arm with the most pre-training on all data; empty when there is none.
        whole: Of all stages, each counted once.
        seconds: Wall time of the finished stages, each counted once.
        joules: Energy that was read while they were made; NaN when none was.
        is_estimated: Whether a part of it is an equal part of what several processes took together.
    """

    lead: str
    arms: tuple[ArmCost, ...]
    saved: tuple[Saved, ...]
    baseline: str
    whole: Cost
    seconds: float
    joules: float
    is_estimated: bool

    @property
    def has_energy(self) -> bool:
        """Whether any energy was read."""
        return not math.isnan(self.joules)


def cost_section(study: StudyInput, store: ResultStore) -> CostSection:
    """Return what the arms of a study take.

    Args:
        study: The study.
        store: Where its results are, for the times in their manifests.
    """
    plan = study.results.plan
    costs = StageCosts(plan, store, study.results.state)
    arms = tuple(_arm_cost(study.results, arm, costs) for arm in study.arms)
    accounting = account(plan, store, costs=costs)
    every = [costs.of(stage) for stage in plan.stages.values()]
    return CostSection(
        lead=_lead(arms),
        arms=arms,
        saved=_saved(accounting) if accounting.baseline else (),
        baseline=accounting.baseline or "",
        whole=plan.cost(),
        seconds=_known(one.seconds for one in every),
        joules=_known(one.joules for one in every),
        is_estimated=any(one.is_estimated for one in every),
    )


def _saved(accounting: Accounting) -> tuple[Saved, ...]:
    table = accounting.saved()
    keys = zip(table["arm"], table["scope"], table["quantity"], strict=True)
    ratios = dict(zip(keys, table["ratio"], strict=True))
    counts = dict(zip(table["arm"], table["n"], strict=True))

    def ratio(arm: str, scope: str, quantity: str) -> float:
        return float(ratios[arm, scope, quantity])

    return tuple(
        Saved(
            arm=arm,
            unique=ratio(arm, "pretraining", "unique_examples"),
            steps=ratio(arm, "pretraining", "steps"),
            steps_scored=ratio(arm, "scoring+pretraining", "steps"),
            kept=ratio(arm, "network", "flops_kept"),
            n=int(n),
        )
        for arm, n in counts.items()
    )


def _known(values: Iterable[float]) -> float:
    """Return the sum of what is known; NaN when nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else math.nan


def _arm_cost(found: StudyResults, arm: str, costs: StageCosts) -> ArmCost:
    plan = found.plan
    own = [address for address, stage in plan.stages.items() if any(use.arm == arm for use in stage.uses)]
    stages = plan.reached_from(own)
    points = [stage for stage in plan.of(Pretrain) if any(use.arm == arm for use in stage.uses)]
    facts = plan.facts.get(points[0].dataset)
    every = facts.splits["train"].count if facts is not None else 0
    return ArmCost(
        arm=arm,
        pretrain_steps=points[0].steps,
        unique=_unique(found, points[0], every),
        of=every,
        pretraining=sum((stage.cost for stage in points), Cost()),
        cost=sum((stage.cost for stage in stages.values()), Cost()),
        seconds=_known(costs.of(stage).seconds for stage in stages.values()),
        joules=_known(costs.of(stage).joules for stage in stages.values()),
    )


def _unique(found: StudyResults, point: Pretrain, every: int) -> int:
    subset = found.plan.stages[point.subset] if point.subset is not None else None
    size = subset.size if isinstance(subset, Subset) else every
    return min(size, point.steps * point.recipe.batch_size)


def _lead(arms: tuple[ArmCost, ...]) -> str:
    fed = [arm for arm in arms if arm.pretrain_steps]
    if not fed:
        return "No arm is pre-trained, so there is no diet that could save anything."
    least, most = min(fed, key=lambda arm: arm.unique), max(fed, key=lambda arm: arm.unique)
    part = max(arm.pretraining.steps / arm.cost.steps for arm in fed)
    rest = f"Pre-training takes at most {percent(part, 1)} of the steps of an arm, and what comes after it the rest."
    if least.unique == most.unique:
        return f"Every pre-training sees up to {most.unique:,} different examples. {rest}"
    return (
        f"The pre-training of {least.arm} sees up to {least.unique:,} different examples ({percent(least.fraction)} of "
        f"the training images), and that of {most.arm} up to {most.unique:,} ({percent(most.fraction)}). {rest}"
    )
