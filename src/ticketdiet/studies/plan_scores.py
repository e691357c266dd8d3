"""The stages of scores: models that are trained and score every example, and the matrix of their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ticketdiet.core.errors import StudyError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.scores.catalog import find_score
from ticketdiet.studies.desk import Desk
from ticketdiet.studies.networks import file_digest
from ticketdiet.studies.parts import ScoreSpec
from ticketdiet.studies.stages import Stage, Use

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

    def score(self, name: str) -> Stage:
        """Plan the score called ``name``; its result holds the matrix (models, n)."""
        score, desk = self._desk.study.scores[name], self._desk
        if name in self._underway:
            raise StudyError(
                f"scores.{name} is made from arm {score.arm!r}, whose subset is chosen by scores.{name}.",
                expected="a barrier score of an arm that does not depend on it",
                way_out="name another arm",
            )
        self._underway.append(name)
        rows = self._barriers(name, score) if score.kind == "barrier" else self._models(name, score)
        self._underway.pop()
        inputs = {f"model{index:03d}": stage.address for index, stage in enumerate(rows)}
        spec = {
            "kind": score.kind,
            "data": desk.data["train"],
            "permuted": derive_seed(desk.study.seed, "permuted") if score.permuted else None,
            "label_noise": rows[0].spec.get("label_noise"),
        }
        return desk.keep("score", spec, inputs, Use(name), path=rows[0].path)

    def _barriers(self, name: str, score: ScoreSpec) -> list[Stage]:
        study = self._desk.study
        if score.arm not in study.arms or not study.children:
            raise StudyError(
                f"scores.{name} of kind 'barrier' names arm {score.arm!r} in a study with children: {study.children}.",
                expected=f"arm: one of {', '.join(study.arms)}, and children: 2 or more",
                way_out="children of that arm's dense run make the barrier",
            )
        return self._families(score.arm)

    def _models(self, name: str, score: ScoreSpec) -> list[Stage]:
        desk, study = self._desk, self._desk.study
        spec: dict[str, Any] = {
            "kind": score.kind,
            "data": desk.data["train"],
            "batch_norm": score.batch_norm,
            "seed": derive_seed(study.seed, "scores"),
        }
        if find_score(score.kind).needs == "nothing":
            spec |= {"index": 0, "column": score.column}
            spec["file"] = file_digest(score.path) if score.path else None
            return [desk.keep("score_model", spec, {}, Use(name, 0), path=score.path)]
        recipe, model = study.score_training(name), score.model or study.model
        if score.steps > recipe.steps:
            raise StudyError(
                f"scores.{name}.steps is {score.steps}, but its training has {recipe.steps} steps.",
                expected="at most training.steps",
                way_out=f"fewer scores.{name}.steps, or scores.{name}.training.steps={score.steps}",
            )
        noise = study.label_noise
        spec |= {
            "model": desk.networks.identity(model),
            "recipe": recipe.identity(),
            "steps": score.steps,
            "label_noise": desk.noise(noise, "pretraining") if score.labels == "as_pretraining" else None,
        }
        cost = desk.networks.cost(model, recipe, score.steps)
        return [
            desk.keep("score_model", spec | {"index": index}, {}, Use(name, index), cost, path=noise.path)
            for index in range(score.models)
        ]
