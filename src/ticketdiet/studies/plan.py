"""From a checked study to its stages, in dependency order, with every address known before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from ticketdiet.core.collecting import without_collector
from ticketdiet.data.cache import ImageFacts
from ticketdiet.studies.limits import check_size
from ticketdiet.studies.network import Cost
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.spec import Arm, StudySpec
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.metric import MetricStage
from ticketdiet.studies.stages.score_model import check_score
from ticketdiet.studies.stages.sparse_training import SparseTraining

S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, eq=False)
class Plan:
    """All stages of a study.

    Attributes:
        study: The study.
        stages: Address -> stage, every stage after its inputs.
        facts: What is known of each of its data sets, without the pixels.
        warnings: What is legal and likely to mislead, one sentence or two each.
        labels: Labels of the splits of data sets, int64 (n,), where a store has recorded them; else empty.
    """

    study: StudySpec
    stages: Mapping[str, Stage]
    facts: Mapping[DatasetSpec, ImageFacts] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    labels: Mapping[DatasetSpec, Mapping[str, np.ndarray]] = field(default_factory=dict)

    def cost(self) -> Cost:
        """What all stages take together."""
        return sum((stage.cost for stage in self.stages.values()), Cost())

    def of(self, kind: type[S]) -> list[S]:
        """Return the stages of one kind, or of several that share a base, in the order of the plan."""
        return [stage for stage in self.stages.values() if isinstance(stage, kind)]

    def reported(self, arm: str, replicate: int) -> dict[int, MaskedTraining]:
        """Return level -> the training of the network that an arm reports there, in one replicate."""
        who = (arm, replicate, False)
        return {
            use.level: stage
            for stage in self.of(MaskedTraining)
            for use in stage.uses
            if (use.arm, use.replicate, use.through) == who
        }

    def reached_from(self, addresses: Collection[str]) -> dict[str, Stage]:
        """Return the stages at ``addresses`` and all that they consume, in the order of the plan."""
        found = {address for address in addresses if address in self.stages}
        ahead = list(found)
        while ahead:
            new = {used for used in self.stages[ahead.pop()].inputs.values() if used in self.stages} - found
            found |= new
            ahead += new
        return {address: self.stages[address] for address in sorted(found, key=self._places.__getitem__)}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {address: place for place, address in enumerate(self.stages)}

    def only(self, arms: Collection[str]) -> Plan:
        """Return the plan of some arms: their stages, and what those consume.

        Args:
            arms: Names of arms of the study.
        """
        study = self.study
        others = set(study.arms) - set(arms)
        own = [a for a, stage in self.stages.items() if any(use.arm in arms for use in stage.uses)]
        stages = {
            address: replace(stage, uses=tuple(use for use in stage.uses if use.arm not in others) or stage.uses)
            for address, stage in self.reached_from(own).items()
        }
        kept = study.model_copy(update={"arms": {name: arm for name, arm in study.arms.items() if name in arms}})
        return replace(self, study=kept, stages=stages)

    def only_replicates(self, replicates: Collection[int]) -> Plan:
        """Return the plan of some replicates: their stages, and what those consume.

        Args:
            replicates: Numbers of replicates, from 0.
        """
        own = [a for a, stage in self.stages.items() if any(use.replicate in replicates for use in stage.uses)]
        return replace(self, stages=self.reached_from(own))


def join_plans(name: str, plans: Sequence[Plan]) -> Plan:
    """Put plans together: stages that several of them have are one stage, used by the arms of each.

    Args:
        name: Name of what comes out.
        plans: At least one, of studies that differ in arms, scores and children only; arms of one name are equal.

    Returns:
        A plan whose study has all arms and scores, and the most children that one of them has.
    """
    stages: dict[str, Stage] = {}
    for plan in plans:
        for address, stage in plan.stages.items():
            uses = (*stages[address].uses, *stage.uses) if address in stages else stage.uses
            stages[address] = replace(stage, uses=tuple(dict.fromkeys(uses)))
    studies = [plan.study for plan in plans]
    whole = {
        "study": name,
        "description": "",
        "arms": {arm: spec for study in studies for arm, spec in study.arms.items()},
        "scores": {score: spec for study in studies for score, spec in study.scores.items()},
        "children": max(study.children for study in studies),
    }
    return Plan(
        studies[0].model_copy(update=whole),
        stages,
        {dataset: facts for plan in plans for dataset, facts in plan.facts.items()},
        tuple(dict.fromkeys(warning for plan in plans for warning in plan.warnings)),
        {dataset: labels for plan in plans for dataset, labels in plan.labels.items()},
    )


@without_collector()
def plan_study(study: StudySpec, facts: Mapping[DatasetSpec, ImageFacts] | None = None) -> Plan:
    """List the stages of ``study``.

    Args:
        study: A checked study.
        facts: Fingerprints, counts and shapes of data sets that are known already; others are asked for theirs.

    Returns:
        Stages by address; equal work of different arms is one stage.

    Raises:
        UserError: When the study would have too many stages, or does not fit the data or the model: a subset larger
            than the data or smaller than a batch, an unknown model, score or subset, a name to ignore that matches
            nothing. Scores that no arm uses are checked too.
    """
    check_size(study)
    planning = Planning(study, facts or {}, _dense_families)
    if study.scores:  # they see the study's labels, whatever an arm sees
        planning.check_noise(study.label_noise)
    for name in study.scores:
        check_score(planning, name)
    for arm in planning.arms.values():
        _check_noise(planning, arm)
        planning.network(arm.model).check_ignored(arm.pruning.ignore)
        for replicate in range(study.replicates):
            _plan_replicate(planning, arm, replicate)
    return Plan(study, planning.stages, planning.known, tuple(planning.warnings))


def _plan_replicate(planning: Planning, arm: Arm, replicate: int) -> None:
    """Plan the mask search, the sparse trainings that it leads to, and the barriers around them."""
    study, measure = planning.study, planning.study.measure
    reported = _reported(planning, arm, replicate, arm.pruning.levels)
    for number in measure.levels if study.children else ():
        if number < len(reported):
            BarrierStage.plan_family(planning, arm.name, number, reported[number])
    for name in measure.metrics:
        for number, network in enumerate(reported):
            MetricStage.plan(planning, arm.name, number, network, name)
    if measure.successive_levels:
        for number in range(1, len(reported)):
            BarrierStage.plan_successive(planning, arm.name, number, reported[number - 1], reported[number])


def _reported(planning: Planning, arm: Arm, replicate: int, count: int) -> list[MaskedTraining]:
    """Plan the trainings whose results are those of the arm, one per density, the dense one first."""
    ticket = arm.ticket
    levels = Level.plan(planning, arm, replicate, count if ticket.needs_search else 0)
    reported: list[MaskedTraining] = []
    for number in range(count + 1):
        own = arm.search is not None or (ticket.is_control and number > 0)
        found = SparseTraining.plan(planning, arm, replicate, number, levels) if own else levels[number]
        reported.append(found)
    return reported


def _dense_families(planning: Planning, arm: Arm) -> list[Stage]:
    dense = [_reported(planning, arm, replicate, 0)[0] for replicate in range(planning.study.replicates)]
    return [BarrierStage.plan_family(planning, arm.name, 0, parent) for parent in dense]


def _check_noise(planning: Planning, arm: Arm) -> None:
    """Refuse given labels that do not fit the images of a phase that sees them."""
    noise, pretrain, search = arm.label_noise, arm.pretrain, arm.search
    if noise.where != "pretraining" or pretrain.dataset is None:
        planning.check_noise(noise)
    if noise.where != "training" and pretrain.dataset is not None:
        planning.check_noise(noise, pretrain.dataset)
    if search is not None and search.dataset is not None and noise.where in (search.phase, "both"):
        planning.check_noise(noise, search.dataset)
