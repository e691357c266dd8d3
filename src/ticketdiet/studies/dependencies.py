"""What stands before and behind the stages of a plan."""

from __future__ import annotations

from collections.abc import Mapping

from ticketdiet.studies.plan import Plan


def work_behind(plan: Plan) -> dict[str, int]:
    """Return, by address, the steps of the longest chain of stages that begins there."""
    behind = {address: stage.cost.steps + 1 for address, stage in plan.stages.items()}
    for address in reversed(list(plan.stages)):
        stage = plan.stages[address]
        for needed in stage.inputs.values():
            behind[needed] = max(behind[needed], plan.stages[needed].cost.steps + 1 + behind[address])
    return behind


def needed_by(plan: Plan) -> Mapping[str, list[str]]:
    """Return, by address, the addresses of the stages that consume its result."""
    found: dict[str, list[str]] = {address: [] for address in plan.stages}
    for address, stage in plan.stages.items():
        for needed in set(stage.inputs.values()):
            found[needed].append(address)
    return found
