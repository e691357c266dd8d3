"""The stages of scores: models that are trained and score every example, and the matrix of their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ticketdiet.core.errors import StudyError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.scores.base import Score
from ticketdiet.scores.catalog import find_score, score_names
from ticketdiet.scores.files import read_values
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
        """Refuse what can be known to be wrong with the score called ``name``, whether or not an arm uses it.

        Raises:
            UserError: For an unknown kind, a file that cannot be used, or keys that do not fit the kind.
        """
        score, path = self._desk.study.scores[name], f"scores.{name}"
        rule = find_score(score.kind)
        self._check_file(path, score, rule)
        if score.batch_norm != "eval" and not rule.knows_batch_norm:
            knowing = ", ".join(kind for kind in score_names() if find_score(kind).knows_batch_norm)
            raise StudyError(
                f"{path} of kind {score.kind!r} has batch_norm {score.batch_norm!r}, which it would not heed.",
                expected=f"eval, or one of the kinds {knowing}",
                way_out=f"leave {path}.batch_norm out",
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
        self._check_steps(f"scores.{name}", score, recipe)
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
