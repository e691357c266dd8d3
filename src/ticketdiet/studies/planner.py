"""From a checked study to its stages, in dependency order, with every address known before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.images import image_facts
from ticketdiet.data.subset_rules import SUBSETS
from ticketdiet.scores.catalog import find_score
from ticketdiet.studies.networks import Networks, file_digest
from ticketdiet.studies.spec import ModelSpec, ScoreSpec, StudySpec, SubsetSpec
from ticketdiet.studies.stages import Cost, Stage, Use
from ticketdiet.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Plan:
    """All stages of a study.

    Attributes:
        study: The study.
        stages: Address -> stage, every stage after its inputs.
    """

    study: StudySpec
    stages: Mapping[str, Stage]

    def cost(self) -> Cost:
        """What all stages take together."""
        return sum((stage.cost for stage in self.stages.values()), Cost())


def plan_study(study: StudySpec) -> Plan:
    """Ask the data for their fingerprints, and plan; see ``make_plan``."""
    options = study.dataset.model_dump(exclude={"name"})
    return make_plan(study, image_facts(study.dataset.name, **options))


def make_plan(study: StudySpec, facts: ImageFacts) -> Plan:
    """List the stages of ``study`` on the images that ``facts`` describe.

    Args:
        study: A checked study.
        facts: Fingerprints, counts and shapes of its data set.

    Returns:
        Stages by address; equal work of different arms is one stage.

    Raises:
        UserError: When the study does not fit the data or the model: a subset larger than the data or smaller than a
            batch, an unknown model, score or subset, a name to ignore that matches nothing.
    """
    planner = _Planner(study, facts)
    for name in study.arms:
        planner.add_arm(name)
    return Plan(study, planner.stages)


class _Planner:
    def __init__(self, study: StudySpec, facts: ImageFacts) -> None:
        self.study, self.networks = study, Networks(facts)
        self.stages: dict[str, Stage] = {}
        self.data = {name: split.fingerprint for name, split in facts.splits.items()}
        self.num_train = facts.splits["train"].count
        self._scoring: list[str] = []

    def add_arm(self, arm: str) -> None:
        pruning, measure = self.study.arm_pruning(arm), self.study.measure
        self.networks.check_ignored(self.study.arm_model(arm), pruning.ignore)
        for replicate in range(self.study.replicates):
            levels = self._levels(arm, replicate, pruning.levels)
            for number in measure.levels if self.study.children else ():
                if number < len(levels):
                    self._family(arm, replicate, levels[number])
            if measure.successive_levels:
                for sparser in range(1, len(levels)):
                    self._successive(arm, replicate, levels[sparser - 1], levels[sparser])

    def _keep(
        self,
        kind: str,
        spec: dict[str, Any],
        inputs: dict[str, str],
        use: Use,
        cost: Cost = Cost(),
        path: str | None = None,
    ) -> Stage:
        stage = Stage(kind, spec, inputs, self.study.dataset, (use,), cost, path)
        known = self.stages.get(stage.address)
        if known is not None:
            stage = replace(known, uses=tuple(dict.fromkeys((*known.uses, use))))
        self.stages[stage.address] = stage
        return stage

    # Pre-training and levels.

    def _pretrain(self, arm: str, replicate: int) -> Stage:
        pretrain, recipe = self.study.arms[arm].pretrain, self.study.arm_training(arm)
        model = self.study.arm_model(arm)
        spec = self._network(model, replicate) | {"steps": pretrain.steps}
        inputs: dict[str, str] = {}
        if pretrain.steps:
            spec["recipe"] = recipe.identity()
            inputs = self._subset_input(arm, replicate, recipe)
        cost = self.networks.cost(model, recipe, pretrain.steps)
        return self._keep("pretrain", spec, inputs, Use(arm, replicate), cost)

    def _levels(self, arm: str, replicate: int, count: int) -> list[Stage]:
        point = self._pretrain(arm, replicate)
        levels: list[Stage] = []
        for number in range(count + 1):
            levels.append(self._level(arm, replicate, number, point, levels[-1] if levels else None))
        return levels

    def _level(self, arm: str, replicate: int, number: int, point: Stage, previous: Stage | None) -> Stage:
        pruning = self.study.arm_pruning(arm)
        spec = self._sparse_training(arm, replicate, point) | {
            "level": number,
            "evaluate_every": self.study.evaluate_every,
            "ignore": sorted(pruning.ignore),
        }
        inputs = {"point": point.address}
        if previous is not None:
            spec |= {"fraction": pruning.fraction, "rule": pruning.rule}
            inputs["previous"] = previous.address
        return self._keep("level", spec, inputs, Use(arm, replicate, number), self._level_cost(arm, point))

    def _sparse_training(self, arm: str, replicate: int, point: Stage) -> dict[str, Any]:
        return self._network(self.study.arm_model(arm), replicate) | {
            "recipe": self.study.arm_training(arm).identity(),
            "start_step": point.spec["steps"],
        }

    def _level_cost(self, arm: str, point: Stage) -> Cost:
        recipe = self.study.arm_training(arm)
        return self.networks.cost(self.study.arm_model(arm), recipe, recipe.steps - int(point.spec["steps"]))

    def _network(self, model: ModelSpec, replicate: int) -> dict[str, Any]:
        identity = self.networks.identity(model)
        return {"data": self.data, "model": identity, "seed": self.study.seed, "replicate": replicate}

    # Families: a level's own run and its children, and the barriers among them.

    def _family(self, arm: str, replicate: int, level: Stage) -> Stage:
        number = int(level.spec["level"])
        point = self.stages[level.inputs["point"]]
        members = {"parent": level.address}
        for index in range(1, self.study.children + 1):
            spec = self._sparse_training(arm, replicate, point) | {"child": index, "vary": list(self.study.vary)}
            inputs = {"point": point.address} | ({"level": level.address} if number else {})
            use = Use(arm, replicate, number)
            child = self._keep("child", spec, inputs, use, self._level_cost(arm, point))
            members[f"child{index}"] = child.address
        return self._barrier(arm, replicate, level, members, family=True)

    def _successive(self, arm: str, replicate: int, denser: Stage, sparser: Stage) -> Stage:
        members = {f"level{stage.spec['level']:02d}": stage.address for stage in (denser, sparser)}
        return self._barrier(arm, replicate, sparser, members, family=False)

    def _barrier(self, arm: str, replicate: int, level: Stage, members: dict[str, str], *, family: bool) -> Stage:
        measure = self.study.measure
        spec = {
            "data": self.data,
            "model": level.spec["model"],
            "alphas": list(measure.alphas),
            "batch_norm": measure.batch_norm,
            "tolerance": measure.tolerance,
            "precision": measure.precision or level.spec["recipe"]["precision"],
            "family": family,
            "step": level.spec["recipe"]["steps"],
        }
        return self._keep("barrier", spec, members, Use(arm, replicate, int(level.spec["level"])))

    # Subsets and scores.

    def _subset_input(self, arm: str, replicate: int, recipe: Recipe) -> dict[str, str]:
        subset = self.study.arms[arm].pretrain.subset
        rule = SUBSETS.get(subset.kind)
        size = self._check_subset(arm, subset, recipe)
        if subset.is_everything:
            return {}
        inputs = {"score": self._score(self._score_name(arm, subset)).address} if rule.needs_scores else {}
        spec = subset.model_dump(exclude={"score", "share", "per_replicate"}) | {
            "size": size,
            "data": self.data["train"],
            "seed": derive_seed(self.study.seed, "subset", replicate if subset.per_replicate else 0),
        }
        return {"subset": self._keep("subset", spec, inputs, Use(arm, replicate)).address}

    def _score_name(self, arm: str, subset: SubsetSpec) -> str:
        if subset.score is not None:
            return subset.score
        if len(self.study.scores) == 1:
            return next(iter(self.study.scores))
        raise StudyError(
            f"arms.{arm}.pretrain.subset of kind {subset.kind!r} names no score.",
            expected=f"score: one of {', '.join(self.study.scores) or '(scores: is empty)'}",
            way_out="declare a score under scores: and name it in the subset",
        )

    def _check_subset(self, arm: str, subset: SubsetSpec, recipe: Recipe) -> int:
        size, path = subset.resolved_size(self.num_train), f"arms.{arm}.pretrain.subset"
        if size > self.num_train:
            raise DataError(
                f"{path} asks for {size} of {self.num_train} training examples.",
                expected="a subset no larger than the data",
                way_out=f"{path}.size={self.num_train} at most, or more data (dataset.limit)",
            )
        if size < recipe.batch_size:
            raise DataError(
                f"{path} has {size} examples, but a batch has {recipe.batch_size}.",
                expected="at least one whole batch (the last incomplete one is dropped)",
                way_out=f"{path}.size={recipe.batch_size} or more, or a smaller training.batch_size",
            )
        return size

    def _score(self, name: str) -> Stage:
        score = self.study.scores[name]
        if name in self._scoring:
            raise StudyError(
                f"scores.{name} is made from arm {score.arm!r}, whose subset is chosen by scores.{name}.",
                expected="a barrier score of an arm that does not depend on it",
                way_out="name another arm",
            )
        self._scoring.append(name)
        rows = self._barriers_of(name, score) if score.kind == "barrier" else self._score_models(name, score)
        self._scoring.pop()
        inputs = {f"model{index:03d}": stage.address for index, stage in enumerate(rows)}
        permuted = derive_seed(self.study.seed, "permuted") if score.permuted else None
        spec = {"kind": score.kind, "data": self.data["train"], "permuted": permuted}
        return self._keep("score", spec, inputs, Use(name))

    def _barriers_of(self, name: str, score: ScoreSpec) -> list[Stage]:
        if score.arm not in self.study.arms or not self.study.children:
            raise StudyError(
                f"scores.{name} of kind 'barrier' names arm {score.arm!r} in a study with children: "
                f"{self.study.children}.",
                expected=f"arm: one of {', '.join(self.study.arms)}, and children: 2 or more",
                way_out="children of that arm's dense run make the barrier",
            )
        levels = [self._levels(score.arm, replicate, 0)[0] for replicate in range(self.study.replicates)]
        return [self._family(score.arm, replicate, level) for replicate, level in enumerate(levels)]

    def _score_models(self, name: str, score: ScoreSpec) -> list[Stage]:
        spec: dict[str, Any] = {
            "kind": score.kind,
            "data": self.data["train"],
            "batch_norm": score.batch_norm,
            "seed": derive_seed(self.study.seed, "scores"),
        }
        if find_score(score.kind).needs == "nothing":
            spec |= {"index": 0, "column": score.column}
            spec["file"] = file_digest(score.path) if score.path else None
            return [self._keep("score_model", spec, {}, Use(name, 0), path=score.path)]
        recipe, model = self.study.score_training(name), score.model or self.study.model
        if score.steps > recipe.steps:
            raise StudyError(
                f"scores.{name}.steps is {score.steps}, but its training has {recipe.steps} steps.",
                expected="at most training.steps",
                way_out=f"fewer scores.{name}.steps, or scores.{name}.training.steps={score.steps}",
            )
        spec |= {"model": self.networks.identity(model), "recipe": recipe.identity(), "steps": score.steps}
        cost = self.networks.cost(model, recipe, score.steps)
        return [
            self._keep("score_model", spec | {"index": index}, {}, Use(name, index), cost)
            for index in range(score.models)
        ]
