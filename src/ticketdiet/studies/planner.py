"""From a checked study to its stages, in dependency order, with every address known before anything runs."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import nn

from ticketdiet.core.errors import DataError, StudyError, UserError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.data.cache import ImageFacts
from ticketdiet.data.images import image_facts
from ticketdiet.data.subset_rules import SUBSETS
from ticketdiet.models.build import build_model, find_model, is_own_module
from ticketdiet.scores.catalog import find_score
from ticketdiet.studies.spec import ModelSpec, ScoreSpec, StudySpec, SubsetSpec
from ticketdiet.studies.stages import Cost, Stage, Use
from ticketdiet.tickets.masks import prunable_names
from ticketdiet.training.cost import forward_flops, training_flops
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
        self.study, self.facts = study, facts
        self.stages: dict[str, Stage] = {}
        self.data = {name: split.fingerprint for name, split in facts.splits.items()}
        self.num_train = facts.splits["train"].count

    def add_arm(self, arm: str) -> None:
        for replicate in range(self.study.replicates):
            point = self._pretrain(arm, replicate)
            previous = None
            for level in range(self.study.arm_pruning(arm).levels + 1):
                previous = self._level(arm, replicate, level, point, previous)

    def _keep(self, kind: str, spec: dict[str, Any], inputs: dict[str, str], use: Use, cost: Cost = Cost()) -> Stage:
        stage = Stage(kind, spec, inputs, self.study.dataset, (use,), cost)
        known = self.stages.get(stage.address)
        if known is not None:
            stage = replace(known, uses=tuple(dict.fromkeys((*known.uses, use))))
        self.stages[stage.address] = stage
        return stage

    def _pretrain(self, arm: str, replicate: int) -> Stage:
        pretrain, recipe = self.study.arms[arm].pretrain, self.study.arm_training(arm)
        model = self.study.arm_model(arm)
        spec = self._network(model, replicate) | {"steps": pretrain.steps}
        inputs: dict[str, str] = {}
        if pretrain.steps:
            spec["recipe"] = recipe.identity()
            inputs = self._subset_input(arm, replicate, recipe)
        use = Use(arm, replicate)
        return self._keep("pretrain", spec, inputs, use, self._cost(model, recipe, pretrain.steps))

    def _level(self, arm: str, replicate: int, level: int, point: Stage, previous: Stage | None) -> Stage:
        recipe, pruning, model = (
            self.study.arm_training(arm),
            self.study.arm_pruning(arm),
            self.study.arm_model(arm),
        )
        spec = self._network(model, replicate) | {
            "recipe": recipe.identity(),
            "start_step": point.spec["steps"],
            "level": level,
            "evaluate_every": self.study.evaluate_every,
            "ignore": sorted(pruning.ignore),
        }
        prunable_names(self._model(model), pruning.ignore)
        inputs = {"point": point.address}
        if previous is not None:
            spec |= {"fraction": pruning.fraction, "rule": pruning.rule}
            inputs["previous"] = previous.address
        cost = self._cost(model, recipe, recipe.steps - int(point.spec["steps"]))
        return self._keep("level", spec, inputs, Use(arm, replicate, level), cost)

    def _subset_input(self, arm: str, replicate: int, recipe: Recipe) -> dict[str, str]:
        subset = self.study.arms[arm].pretrain.subset
        rule = SUBSETS.get(subset.kind)
        size = self._check_subset(arm, subset, recipe)
        if subset.is_everything:
            return {}
        inputs: dict[str, str] = {}
        if rule.needs_scores:
            inputs["score"] = self._score(self._score_name(arm, subset)).address
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
        recipe = self.study.score_training(name)
        find_score(score.kind)
        if score.steps > recipe.steps:
            raise StudyError(
                f"scores.{name}.steps is {score.steps}, but its training has {recipe.steps} steps.",
                expected="at most training.steps",
                way_out=f"fewer scores.{name}.steps, or scores.{name}.training.steps={score.steps}",
            )
        models = [self._score_model(name, score, recipe, index) for index in range(score.models)]
        inputs = {f"model{index:03d}": stage.address for index, stage in enumerate(models)}
        return self._keep("score", {"kind": score.kind, "data": self.data["train"]}, inputs, Use(name))

    def _score_model(self, name: str, score: ScoreSpec, recipe: Recipe, index: int) -> Stage:
        model = score.model or self.study.model
        spec = {
            "kind": score.kind,
            "data": self.data["train"],
            "model": self._model_identity(model),
            "recipe": recipe.identity(),
            "steps": score.steps,
            "batch_norm": score.batch_norm,
            "seed": derive_seed(self.study.seed, "score"),
            "index": index,
        }
        return self._keep("score_model", spec, {}, Use(name, index), self._cost(model, recipe, score.steps))

    def _network(self, model: ModelSpec, replicate: int) -> dict[str, Any]:
        return {
            "data": self.data,
            "model": self._model_identity(model),
            "seed": self.study.seed,
            "replicate": replicate,
        }

    def _model_identity(self, model: ModelSpec) -> dict[str, Any]:
        channels, height, width = self.facts.shape
        if height != width:
            raise UserError(
                f"images of {height} x {width} pixels.",
                expected="square images",
                way_out="crop or pad the images before loading them",
            )
        built_in = not is_own_module(model.name)
        return {
            "name": model.name,
            "width": model.width,
            "initialisation": model.initialisation or ("kaiming" if built_in else "module"),
            "source": "" if built_in else source_digest(model.name),
            "num_classes": self.facts.num_classes,
            "in_channels": channels,
            "image_size": height,
        }

    def _model(self, model: ModelSpec) -> nn.Module:
        identity = self._model_identity(model)
        return _build(*(identity[key] for key in ("name", "width", "num_classes", "in_channels", "image_size")))

    def _cost(self, model: ModelSpec, recipe: Recipe, steps: int) -> Cost:
        examples = steps * recipe.batch_size
        forward = _forward_flops(self._model(model), self.facts.shape)
        return Cost(steps, examples, training_flops(forward, examples))


@lru_cache(maxsize=16)
def _build(name: str, width: int | None, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return build_model(name, width=width, num_classes=num_classes, in_channels=in_channels, image_size=image_size)


@lru_cache(maxsize=16)
def _forward_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    try:
        return forward_flops(model, shape)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"the model cannot take images of shape {shape}: {str(error).splitlines()[0]}",
            expected="a network that takes (batch, channels, height, width) of the data",
            way_out="another model, or dataset.resolution",
        ) from error


def source_digest(name: str) -> str:
    """SHA-256 of the file that defines an own model, so that editing the file is a new identity."""
    try:
        return hashlib.sha256(inspect.getsource(inspect.getmodule(find_model(name)) or nn).encode()).hexdigest()
    except (OSError, TypeError):
        return "unavailable"
