"""What an arm needs: every stage behind its results, other arms' included, by the phase that the arm needs it for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ticketdiet.core.errors import UserError
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.stages.score_model import GivenScore, ScoreModel
from ticketdiet.studies.stages.subset import Subset

Phase = Literal["scoring", "pretraining", "search", "sparse_training", "children", "measuring"]
PHASES: tuple[Phase, ...] = get_args(Phase)
# What arms are compared by -> its phases.
SCOPES: Mapping[str, tuple[Phase, ...]] = {
    "pretraining": ("pretraining",),
    "scoring+pretraining": ("scoring", "pretraining"),
    "network": ("scoring", "pretraining", "search", "sparse_training"),
}


@dataclass(frozen=True, eq=False)
class Need:
    """All stages that one replicate of an arm needs.

    Attributes:
        arm: Name of the arm.
        replicate: From 0.
        phases: Phase -> its stages, in the order of the plan; phases without a stage are left out.
    """

    arm: str
    replicate: int
    phases: Mapping[Phase, tuple[Stage, ...]]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of all phases."""
        return self.of(PHASES)

    def of(self, phases: Collection[Phase]) -> tuple[Stage, ...]:
        """Return the stages of some phases."""
        return tuple(stage for phase in phases for stage in self.phases.get(phase, ()))


def needs_of(plan: Plan, level: int | None = None) -> list[Need]:
    """Return what every replicate of every arm needs, whoever else needs it too.

    Every stage is in one phase of an arm:

    - ``scoring``: what the scores behind its subsets are made from: their networks and, for a score made from the
      barriers of another arm, the trainings of that arm.
    - ``pretraining``: the dense training up to the rewinding point, and the choice of its subset.
    - ``search``: every training whose trained weights or mask another training of the arm is made from. Without a
      cheaper search of its own, a level is both search and sparse training; here it is search, except the sparsest.
    - ``sparse_training``: the other trainings from the rewinding point to the end.
    - ``children``: further trainings from the rewinding point.
    - ``measuring``: barriers and metrics.

    Args:
        plan: The stages of a study.
        level: Count what leads to the arm's network at this level alone; by default, what leads to all its levels.

    Returns:
        One value per arm and replicate, in the order of the study.

    Raises:
        UserError: When no arm has such a level.
    """
    own = _own(plan, level)
    needs = [
        Need(arm, replicate, _by_phase(plan, arm, own[arm, replicate]))
        for arm in plan.study.arms
        for replicate in range(plan.study.replicates)
        if (arm, replicate) in own
    ]
    if level is not None and not needs:
        raise UserError(
            f"No arm of {plan.study.study} has a level {level}.",
            expected=f"a level from 0 to {plan.study.pruning.levels}",
            way_out="name another level, or none for all levels",
        )
    return needs


def _own(plan: Plan, level: int | None) -> dict[tuple[str, int], list[str]]:
    """By arm and replicate, addresses of the stages that everything else of it leads to."""
    own: dict[tuple[str, int], list[str]] = {}
    for address, stage in plan.stages.items():
        if isinstance(stage, Score | ScoreModel | GivenScore):  # a score may be called like an arm
            continue
        for use in stage.uses:
            if level is None or (use.level == level and not use.through):
                own.setdefault((use.arm, use.replicate), []).append(address)
    return own


def _by_phase(plan: Plan, arm: str, own: Collection[str]) -> dict[Phase, tuple[Stage, ...]]:
    needed = plan.reached_from(own)
    found: dict[str, Phase] = {}
    consumers: dict[str, list[str]] = {address: [] for address in needed}
    for address, stage in reversed(needed.items()):
        found[address] = _phase_of(stage, arm, [needed[by] for by in consumers[address]], found)
        for used in stage.inputs.values():
            consumers[used].append(address)
    return {
        phase: stages
        for phase in PHASES
        if (stages := tuple(stage for address, stage in needed.items() if found[address] == phase))
    }


def _phase_of(stage: Stage, arm: str, consumers: Collection[Stage], found: Mapping[str, Phase]) -> Phase:
    if isinstance(stage, Subset):
        phases = {found[consumer.address] for consumer in consumers}
        return next(phase for phase in ("pretraining", "search", "scoring") if phase in phases)
    if isinstance(stage, Score | ScoreModel | GivenScore) or all(use.arm != arm for use in stage.uses):
        return "scoring"
    if isinstance(stage, Pretrain):
        return "pretraining"
    if isinstance(stage, MaskedTraining):
        leads_on = any(isinstance(consumer, MaskedTraining) for consumer in consumers)
        return "search" if leads_on else "sparse_training"
    return "children" if isinstance(stage, Child) else "measuring"
