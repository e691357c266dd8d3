"""From a checked study to its stages, in dependency order, with every address known before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ticketdiet.core.errors import StudyError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.data.cache import ImageFacts
from ticketdiet.studies.desk import Desk, facts_of, fingerprints
from ticketdiet.studies.limits import check_size
from ticketdiet.studies.plan_scores import ScorePlanner
from ticketdiet.studies.plan_subsets import SubsetPlanner
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stages import Cost, Stage, Use


@dataclass(frozen=True, eq=False)
class Plan:
    """All stages of a study.

    Attributes:
        study: The study.
        stages: Address -> stage, every stage after its inputs.
        warnings: What is legal and likely to mislead, one sentence or two each.
    """

    study: StudySpec
    stages: Mapping[str, Stage]
    warnings: tuple[str, ...] = ()

    def cost(self) -> Cost:
        """What all stages take together."""
        return sum((stage.cost for stage in self.stages.values()), Cost())


def plan_study(study: StudySpec) -> Plan:
    """Ask the data for their fingerprints, and plan; see ``make_plan``."""
    return make_plan(study, facts_of(study.dataset))


def make_plan(study: StudySpec, facts: ImageFacts) -> Plan:
    """List the stages of ``study`` on the images that ``facts`` describe.

    Args:
        study: A checked study.
        facts: Fingerprints, counts and shapes of its data set.

    Returns:
        Stages by address; equal work of different arms is one stage.

    Raises:
        UserError: When the study would have too many stages, or does not fit the data or the model: a subset larger
            than the data or smaller than a batch, an unknown model, score or subset, a name to ignore that matches
            nothing. Scores that no arm uses are checked too.
    """
    check_size(study)
    planner = _ArmPlanner(Desk(study, facts))
    if study.scores:  # they see the study's labels, whatever an arm sees
        planner.desk.check_noise(study.label_noise)
    for name in study.scores:
        planner.scores.check(name)
    for name in study.arms:
        planner.add(name)
    return Plan(study, planner.desk.stages, tuple(planner.desk.warnings))


class _ArmPlanner:
    def __init__(self, desk: Desk) -> None:
        self.desk, self.study = desk, desk.study
        self.scores = ScorePlanner(desk, self._dense_families)
        self._subsets = SubsetPlanner(desk, self.scores)

    def add(self, arm: str) -> None:
        pruning, measure = self.study.arm_pruning(arm), self.study.measure
        self._check_noise(arm)
        self.desk.networks.check_ignored(self.study.arm_model(arm), pruning.ignore)
        for replicate in range(self.study.replicates):
            ticket = self.study.arms[arm].ticket
            levels = self._levels(arm, replicate, pruning.levels if ticket.needs_search else 0)
            if ticket.is_control:
                for number in range(1, pruning.levels + 1):
                    self._control(arm, replicate, number, levels)
            for number in measure.levels if self.study.children else ():
                if number < len(levels):
                    self._family(arm, replicate, levels[number])
            if measure.successive_levels:
                for sparser in range(1, len(levels)):
                    self._successive(arm, replicate, levels[sparser - 1], levels[sparser])

    def _check_noise(self, arm: str) -> None:
        """Refuse given labels that do not fit the images of a phase that sees them."""
        noise, pretrain = self.study.arm_noise(arm), self.study.arms[arm].pretrain
        if noise.where != "pretraining" or pretrain.dataset is None:
            self.desk.check_noise(noise)
        if noise.where != "training" and pretrain.dataset is not None:
            self.desk.check_noise(noise, pretrain.dataset)

    def _pretrain(self, arm: str, replicate: int) -> Stage:
        desk, pretrain = self.desk, self.study.arms[arm].pretrain
        model, steps = self.study.arm_model(arm), self._pretrain_steps(arm)
        spec = desk.network(model, replicate) | {
            "steps": steps,
            "gradient_agreement": self.study.measure.gradient_agreement,
        }
        if not steps:
            return self._initial(arm, replicate, spec)
        recipe, subset = self.study.pretraining(arm), self._subsets.subset(arm, replicate)
        noise = self.study.arm_noise(arm)
        spec |= {
            "recipe": recipe.identity(),
            "objective": pretrain.objective,
            "label_noise": desk.noise(noise, "pretraining", replicate),
            "evaluate_every": pretrain.evaluate_every,
        }
        if pretrain.dataset is not None:
            spec["data"] = fingerprints(desk.facts_of(pretrain.dataset, f"arms.{arm}.pretrain.dataset"))
        inputs = {"subset": subset.address} if subset is not None else {}
        cost = desk.networks.cost(model, recipe, steps)
        return desk.keep("pretrain", spec, inputs, Use(arm, replicate), cost, path=noise.path, dataset=pretrain.dataset)

    def _initial(self, arm: str, replicate: int, spec: dict[str, Any]) -> Stage:
        """Plan the point of an arm without pre-training: only what it is measured by can tell it from another's."""
        recipe, pretrain, noise = self.study.arm_training(arm), self.study.arms[arm].pretrain, self.study.arm_noise(arm)
        spec |= {"precision": recipe.precision}
        path = None
        if spec["gradient_agreement"]:
            # The labels of later points, so that those can be compared with it; noise of other images does not fit.
            seen = self.desk.noise(noise, "pretraining", replicate) if pretrain.dataset is None else None
            spec |= {"batch_size": recipe.batch_size, "label_noise": seen}
            path = noise.path if seen else None
        return self.desk.keep("pretrain", spec, {}, Use(arm, replicate), path=path)

    def _pretrain_steps(self, arm: str) -> int:
        pretrain, recipe = self.study.arms[arm].pretrain, self.study.pretraining(arm)
        steps = pretrain.steps
        if pretrain.passes is not None:
            steps = pretrain.passes * (self._subsets.size(arm) // recipe.batch_size)
        most = min(recipe.steps, self.study.arm_training(arm).steps)
        if steps > most:
            raise StudyError(
                f"arms.{arm}.pretrain makes {steps} steps, but training has {most}.",
                expected="k at most T",
                way_out="fewer steps or passes, or more training.steps",
            )
        return steps

    def _levels(self, arm: str, replicate: int, count: int) -> list[Stage]:
        point = self._pretrain(arm, replicate)
        levels: list[Stage] = []
        for number in range(count + 1):
            levels.append(self._level(arm, replicate, number, point, levels[-1] if levels else None))
        return levels

    def _level(self, arm: str, replicate: int, number: int, point: Stage, previous: Stage | None) -> Stage:
        pruning, ticket = self.study.arm_pruning(arm), self.study.arms[arm].ticket
        spec = self._sparse_training(arm, replicate, point) | {
            "level": number,
            "evaluate_every": self.study.evaluate_every,
            "ignore": sorted(pruning.ignore),
        }
        inputs = {"point": point.address}
        if previous is not None:
            spec |= {"fraction": pruning.fraction, "rule": pruning.rule, "restart": ticket.restart}
            spec |= {} if ticket.fine_tune_lr is None else {"fine_tune_lr": ticket.fine_tune_lr}
            inputs["previous"] = previous.address
        use = Use(arm, replicate, number, through=ticket.is_control and number > 0)
        return self._train_stage("level", spec, inputs, use, point)

    def _control(self, arm: str, replicate: int, number: int, levels: list[Stage]) -> Stage:
        """Plan a sparse training that differs from the mask search: in its mask, its weights, or both."""
        ticket, pruning = self.study.arms[arm].ticket, self.study.arm_pruning(arm)
        point = self.desk.stages[levels[0].inputs["point"]]
        spec = self._sparse_training(arm, replicate, point) | {
            "mask": ticket.mask,
            "weights": ticket.weights,
            "kept": self._kept(arm, number),
            "evaluate_every": self.study.evaluate_every,
            "ignore": sorted(pruning.ignore),
            "control_seed": derive_seed(self.study.seed, "control", replicate, number),
        }
        if ticket.mask == "snip":
            count = self.desk.facts.splits["train"].count
            spec["snip_images"] = count if ticket.snip_images == "all" else min(ticket.snip_images, count)
        inputs = {"point": point.address}
        if ticket.needs_search or ticket.mask == "magnitude":
            inputs["level"] = levels[number if ticket.needs_search else 0].address
        return self._train_stage("control", spec, inputs, Use(arm, replicate, number), point)

    def _kept(self, arm: str, level: int) -> int:
        """Weights that exact pruning keeps at a level: what controls without a mask search keep too."""
        pruning = self.study.arm_pruning(arm)
        kept = self.desk.networks.count_prunable(self.study.arm_model(arm), pruning.ignore)
        for _ in range(level):
            kept -= math.ceil(pruning.fraction * kept)
        return kept

    def _sparse_training(self, arm: str, replicate: int, point: Stage) -> dict[str, Any]:
        return self.desk.network(self.study.arm_model(arm), replicate) | {
            "recipe": self.study.arm_training(arm).identity(),
            "start_step": point.spec["steps"],
            "label_noise": self.desk.noise(self.study.arm_noise(arm), "training", replicate),
        }

    def _train_stage(self, kind: str, spec: dict[str, Any], inputs: dict[str, str], use: Use, point: Stage) -> Stage:
        recipe = self.study.arm_training(use.arm)
        steps = recipe.steps - int(point.spec["steps"])
        cost = self.desk.networks.cost(self.study.arm_model(use.arm), recipe, steps)
        return self.desk.keep(kind, spec, inputs, use, cost, path=self.study.arm_noise(use.arm).path)

    def _dense_families(self, arm: str) -> list[Stage]:
        dense = [self._levels(arm, replicate, 0)[0] for replicate in range(self.study.replicates)]
        return [self._family(arm, replicate, level) for replicate, level in enumerate(dense)]

    def _family(self, arm: str, replicate: int, level: Stage) -> Stage:
        """Plan the children of a level's own run, and the barriers among all of them."""
        number = int(level.spec["level"])
        point = self.desk.stages[level.inputs["point"]]
        members = {"parent": level.address}
        for index in range(1, self.study.children + 1):
            spec = self._sparse_training(arm, replicate, point) | {"child": index, "vary": list(self.study.vary)}
            inputs = {"point": point.address} | ({"level": level.address} if number else {})
            child = self._train_stage("child", spec, inputs, Use(arm, replicate, number), point)
            members[f"child{index}"] = child.address
        return self._barrier(arm, replicate, level, members, family=True)

    def _successive(self, arm: str, replicate: int, denser: Stage, sparser: Stage) -> Stage:
        members = {f"level{stage.spec['level']:02d}": stage.address for stage in (denser, sparser)}
        return self._barrier(arm, replicate, sparser, members, family=False)

    def _barrier(self, arm: str, replicate: int, level: Stage, members: dict[str, str], *, family: bool) -> Stage:
        measure = self.study.measure
        spec = {
            "data": self.desk.data,
            "model": level.spec["model"],
            "alphas": list(measure.alphas),
            "batch_norm": measure.batch_norm,
            "tolerance": measure.tolerance,
            "precision": measure.precision or level.spec["recipe"]["precision"],
            "family": family,
            "step": level.spec["recipe"]["steps"],
        }
        return self.desk.keep("barrier", spec, members, Use(arm, replicate, int(level.spec["level"])))
