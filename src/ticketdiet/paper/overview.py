"""What each claim takes: stages, steps, floating-point operations, and time, here and on a large GPU."""

from __future__ import annotations

from dataclasses import dataclass

from ticketdiet.paper.running import PaperPlan
from ticketdiet.studies.network import Cost
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.time_left import TimeLeft, time_left

# Published for an A100: a standard training of ResNet-18 on CIFAR-10 takes 32.3e15 operations in 7 minutes
# (github.com/KellerJordan/cifar10-airbench). An H100 is taken to be twice as fast.
A100_FLOPS_PER_SECOND = 32.3e15 / (7 * 60)
H100_OVER_A100 = 2.0


@dataclass(frozen=True)
class ClaimCost:
    """What the study of a claim takes.

    Attributes:
        claim: ``"C1"`` to ``"C7"``, or ``"together"`` for all, where equal work counts once.
        title: A few words.
        study: Name of the study.
        arms: Number of arms.
        replicates: Number of replicates.
        stages: Number of stages.
        cost: Steps, examples and operations.
    """

    claim: str
    title: str
    study: str
    arms: int
    replicates: int
    stages: int
    cost: Cost

    @property
    def h100_seconds(self) -> float:
        """Estimate for one H100, from a published rate for ResNet-18; narrow networks take longer."""
        return self.cost.flops / (A100_FLOPS_PER_SECOND * H100_OVER_A100)


def claim_costs(paper: PaperPlan) -> list[ClaimCost]:
    """Return what every claim takes by itself, and at the end what all take together."""
    each = [_cost(claim.name, claim.title, plan) for claim, plan in zip(paper.claims, paper.plans, strict=True)]
    return [*each, _cost("together", "equal work counts once", paper.together())]


def _cost(claim: str, title: str, plan: Plan) -> ClaimCost:
    study = plan.study
    return ClaimCost(claim, title, study.study, len(study.arms), study.replicates, len(plan.stages), plan.cost())


def time_here(plan: Plan, *, workers: int | None = None, threads: int | None = None) -> TimeLeft | None:
    """Measure on the spot how long a plan takes on the CPU here; None when it cannot be measured."""
    return time_left(plan, list(plan.stages), device="cpu", workers=workers, threads=threads)
