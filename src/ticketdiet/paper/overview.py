"""What each claim takes: stages, steps, floating-point operations, and time, here and on a large GPU."""

from __future__ import annotations

from dataclasses import dataclass

from ticketdiet.paper.running import PaperPlan
from ticketdiet.studies.network import Cost
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.time_left import TimeLeft, time_left

# Measured on one H200 with benchmarks/cuda_speed.py, float32, 128 images a step, replayed: 6.6 ms for ResNet-20 and
# 10.0 ms for ResNet-32 at 32x32, which is this rate; and 1.75 ms for ResNet-14 of 8 channels at 16x16, which is not
# arithmetic any more but the number of kernels.
H200_FLOPS_PER_SECOND = 5e12
H200_SECONDS_PER_STEP = 1.75e-3


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
    def h200_seconds(self) -> float:
        """Estimate for one process on one H200 in float32, from steps of narrow networks that were measured there."""
        return max(self.cost.flops / H200_FLOPS_PER_SECOND, self.cost.steps * H200_SECONDS_PER_STEP)


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
