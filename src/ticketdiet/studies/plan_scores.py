"""The stages of scores: models that are trained and score every example, and the matrix of their rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.scores.base import Score, resolve_batch_norm
from ticketdiet.scores.catalog import find_score
from ticketdiet.scores.files import read_values
from ticketdiet.scores.modes import FEWEST_STEPS_FOR_EVAL, ScoreBatchNorm
from ticketdiet.studies.desk import Desk
from ticketdiet.studies.networks import file_digest
from ticketdiet.studies.parts import ScoreSpec
from ticketdiet.studies.stages import Stage, Use
from ticketdiet.training.recipe import Recipe

Families = Callable[[str], list[Stage]]


class ScorePlanner:
    """Plans scores by name.

    Args:
        desk: Where stages go.
        families: Plans the barriers of an arm's dense families, one a replicate, for scores of kind ``barrier``.
    """

    def __init__(self, desk: Desk, families: Families) -> None:
        self._desk, self._families = desk, families
        self._underway: list[str] = []

    def check(self, name: str) -> None:
        """Refuse what can be known to be wrong with the score called ``name``, whether or not an arm uses it; warn.

        Raises:
            UserError: For an unknown kind, a file that cannot be used, or keys that do not fit the kind.
        """
        score, path = self._desk.study.scores[name], f"scores.{name}"
        rule = find_score(score.kind)
        self._check_file(path, score, rule)
        self._check_noise(path, score, rule)
        lags = self._batch_norm(name) == "eval" and score.steps < FEWEST_STEPS_FOR_EVAL
        if lags and self._desk.networks.has_batch_norm(score.model or self._desk.study.model):
            self._desk.warnings.append(
                f"{path} has batch_norm eval after a training of {score.steps} steps, when BatchNorm's running "
                "statistics still lag behind the weights, so that other examples rank as easy. Leave "
                f"{path}.batch_norm out to recalibrate them, or train for {FEWEST_STEPS_FOR_EVAL} steps or more."
            )

    def _batch_norm(self, name: str) -> ScoreBatchNorm | None:
        """The BatchNorm mode of a score, None where it has no effect."""
        score = self._desk.study.scores[name]
        rule = find_score(score.kind)
        try:
            return resolve_batch_norm(rule, score.kind, score.batch_norm, recorded=rule.needs == "training")
        except DataError as error:
            raise StudyError(
                f"scores.{name}: {error.came}",
                expected=error.expected,
                way_out=f"leave scores.{name}.batch_norm out, or choose another kind",
            ) from None

    def _check_noise(self, path: str, score: ScoreSpec, rule: Score) -> None:
        """Refuse one score for all replicates of labels that differ between them."""
        noise = self._desk.study.label_noise
        sees = rule.needs != "nothing" and score.labels == "as_pretraining"
        drawn = noise.per_replicate and self._desk.noise(noise, "pretraining", 0) is not None
        if sees and drawn and not score.per_replicate:
            raise StudyError(
                f"{path} is one score for all replicates, but the label noise that it sees is drawn per replicate.",
                expected="a score per replicate, or one of the labels as they came",
                way_out=f"{path}.per_replicate=true, or {path}.labels=clean",
            )

    def _check_file(self, path: str, score: ScoreSpec, rule: Score) -> None:
        if score.path is None:
            return
        if rule.needs != "nothing" or score.kind in ("random", "barrier"):
            raise StudyError(
                f"{path}.path is given, but a score of kind {score.kind!r} reads no file.",
                expected="path with kind file",
                way_out=f"leave {path}.path out, or {path}.kind=file",
            )
        file_digest(score.path)
        if score.kind == "file":
            read_values(score.path, self._desk.facts.splits["train"].count, column=score.column)

    def _check_steps(self, path: str, score: ScoreSpec, recipe: Recipe) -> None:
        if score.steps > recipe.steps:
            raise StudyError(
                f"{path}.steps is {score.steps}, but its training has {recipe.steps} steps.",
                expected="at most training.steps",
                way_out=f"fewer {path}.steps, or {path}.training.steps={score.steps}",
            )
        count = self._desk.facts.splits["train"].count
        if find_score(score.kind).needs == "training" and score.steps * recipe.batch_size < count:
            raise StudyError(
                f"{path} of kind {score.kind!r} watches a training, but in {score.steps} steps of "
                f"{recipe.batch_size} it does not see all {count} examples.",
                expected="more than one pass over the data (each drops its last incomplete batch)",
                way_out=f"more {path}.steps, or a kind that looks at the trained network alone, such as el2n",
            )

    def score(self, name: str, replicate: int) -> Stage:
        """Plan the score called ``name`` that ``replicate`` uses; its result holds the matrix (models, n)."""
        score, desk = self._desk.study.scores[name], self._desk
        if name in self._underway:
            raise StudyError(
                f"scores.{name} is made from arm {score.arm!r}, whose subset is chosen by scores.{name}.",
                expected="a barrier score of an arm that does not depend on it",
                way_out="name another arm",
            )
        self._underway.append(name)
        own = replicate if score.per_replicate else None
        rows = self._barriers(name, score, own) if score.kind == "barrier" else self._models(name, score, own)
        self._underway.pop()
        inputs = {f"model{index:03d}": stage.address for index, stage in enumerate(rows)}
        spec = {
            "kind": score.kind,
            "data": desk.data["train"],
            "permuted": desk.seed("permuted", own or 0) if score.permuted else None,
            "label_noise": rows[0].spec.get("label_noise"),
        }
        return desk.keep("score", spec, inputs, Use(name, -1 if own is None else own), path=rows[0].path)

    def _barriers(self, name: str, score: ScoreSpec, replicate: int | None) -> list[Stage]:
        study = self._desk.study
        if score.arm not in study.arms or not study.children:
            raise StudyError(
                f"scores.{name} of kind 'barrier' names arm {score.arm!r} in a study with children: {study.children}.",
                expected=f"arm: one of {', '.join(study.arms)}, and children: 2 or more",
                way_out="children of that arm's dense run make the barrier",
            )
        families = self._families(score.arm)
        return families if replicate is None else [families[replicate]]

    def _models(self, name: str, score: ScoreSpec, replicate: int | None) -> list[Stage]:
        desk, study = self._desk, self._desk.study
        spec: dict[str, Any] = {
            "kind": score.kind,
            "data": desk.data["train"],
            "seed": desk.seed("scores", replicate or 0),
        }
        batch_norm, use = self._batch_norm(name), Use(name, -1 if replicate is None else replicate)
        if batch_norm is not None:
            spec["batch_norm"] = batch_norm
        if find_score(score.kind).needs == "nothing":
            spec |= {"index": 0, "column": score.column}
            spec["file"] = file_digest(score.path) if score.path else None
            return [desk.keep("score_model", spec, {}, replace(use, model=0), path=score.path)]
        recipe, model = study.score_training(name), score.model or study.model
        self._check_steps(f"scores.{name}", score, recipe)
        noise = study.label_noise
        spec |= {
            "model": desk.networks.identity(model),
            "recipe": recipe.identity(),
            "steps": score.steps,
            "label_noise": desk.noise(noise, "pretraining", replicate or 0)
            if score.labels == "as_pretraining"
            else None,
        }
        cost = desk.networks.cost(model, recipe, score.steps)
        return [
            desk.keep("score_model", spec | {"index": index}, {}, replace(use, model=index), cost, path=noise.path)
            for index in range(score.models)
        ]
