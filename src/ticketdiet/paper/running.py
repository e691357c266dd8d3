"""The studies of several claims, planned together: equal work is one stage, and replicates are finished in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ticketdiet.data.cache import ImageFacts
from ticketdiet.paper.claim import Claim
from ticketdiet.paper.setting import Setting
from ticketdiet.studies.plan import Plan, join_plans, plan_study
from ticketdiet.studies.schema import DatasetSpec


@dataclass(frozen=True, eq=False)
class PaperPlan:
    """What the claims need.

    Attributes:
        setting: Network, data and scale.
        claims: The claims, in the order of the paper.
        plans: The plan of each claim's study, in the same order.
    """

    setting: Setting
    claims: tuple[Claim, ...]
    plans: tuple[Plan, ...]

    def together(self, replicates: Collection[int] | None = None) -> Plan:
        """Return the stages of all claims as one plan.

        Args:
            replicates: Only these replicates, from 0; by default all.
        """
        plan = join_plans(f"paper-{self.setting.name}", self.plans)
        return plan if replicates is None else plan.only_replicates(replicates)


def plan_claims(
    claims: Sequence[Claim], setting: Setting, facts: Mapping[DatasetSpec, ImageFacts] | None = None
) -> PaperPlan:
    """Plan the studies of several claims.

    Args:
        claims: Which claims.
        setting: Network, data and scale.
        facts: What is known of the data already; otherwise they are read.

    Returns:
        The plans of the claims.

    Raises:
        UserError: When the data cannot be read, or a study does not fit them.
    """
    plans: list[Plan] = []
    known = dict(facts or {})
    for claim in claims:
        plans.append(plan_study(claim.study(setting), known))
        known |= plans[-1].facts
    return PaperPlan(setting, tuple(claims), tuple(plans))
