"""One row of a score: a network that is trained for a few steps and scores every example, or values that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ticketdiet.core.errors import DataError, StudyError
from ticketdiet.core.seeds import RunSeeds, derive_seed
from ticketdiet.scores.base import Score as ScoreRule
from ticketdiet.scores.base import ScoreOptions, resolve_batch_norm
from ticketdiet.scores.catalog import find_score
from ticketdiet.scores.driver import score_with_model
from ticketdiet.scores.files import read_values
from ticketdiet.scores.modes import FEWEST_STEPS_FOR_EVAL, ScoreBatchNorm
from ticketdiet.scores.recorder import TrainingRecorder
from ticketdiet.studies.context import Context
from ticketdiet.studies.datasets import kept_of
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.network import file_digest
from ticketdiet.studies.planning import Planning, train_only
from ticketdiet.studies.schema import ScoreSpec
from ticketdiet.studies.stage import ComputedStage, Result, Training, TrainingStage, Use
from ticketdiet.training.loop import Trained
from ticketdiet.training.recipe import Recipe


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreModel(TrainingStage):
    """A network that is trained for a few steps and scores every training example.

    Attributes:
        score: Registered name of the score.
        index: Number of the network among those of the score, from 0.
        steps: Steps it is trained for.
        seed: Seed of the score, from which every network has seeds of its own.
        batch_norm: BatchNorm mode of the score, None where that has no effect.
        label_noise: Label noise it sees.
    """

    kind = "score_model"
    version = 4

    score: str
    index: int
    steps: int
    seed: int
    batch_norm: ScoreBatchNorm | None
    label_noise: SeenNoise | None

    def prepare(self, context: Context) -> Training:
        """Build the network, with a recorder where the score watches the training."""
        images = context.train_images(self, self.label_noise)
        # Without the name of the score: scores of different kinds look at the same trainings, and can be compared.
        seeds = RunSeeds.of(derive_seed(self.seed, "score"), self.index)
        watches = find_score(self.score).needs == "training"
        return Training(
            model=context.build(self.network, seeds.initialisation),
            images=images,
            recipe=self.recipe,
            seeds=seeds,
            stop_step=self.steps,
            observers=(TrainingRecorder(len(images)),) if watches else (),
        )

    def finish(self, context: Context, training: Training, trained: Trained) -> Result:
        """Score every example."""
        recorders = [one for one in training.observers if isinstance(one, TrainingRecorder)]
        row = score_with_model(
            self.score,
            training.model,
            training.images,
            recorder=recorders[0] if recorders else None,
            seed=derive_seed(self.seed, "score", self.score, self.index),
            options=ScoreOptions(batch_norm=self.batch_norm, precision=self.recipe.precision),
        )
        return _row(row)


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenScore(ComputedStage):
    """A row of a score that needs no network: drawn at random, or read from a file.

    Attributes:
        score: Registered name of the score.
        seed: Seed of what it draws.
        file: SHA-256 of the file that it reads, or None.
        column: Column of that file, if it has several.
    """

    kind = "given_score"
    version = 1

    score: str
    seed: int
    file: str | None
    column: str | None

    def compute(self, context: Context) -> Result:
        """Draw or read the values."""
        seed = derive_seed(self.seed, "score", self.score, 0)
        kept = kept_of(self.dataset) if self.path else None
        options = ScoreOptions(path=self.path, column=self.column, kept=kept)
        return _row(score_with_model(self.score, None, context.images(self).train, seed=seed, options=options))


def _row(values: np.ndarray) -> Result:
    return Result({"scores": {"scores": torch.as_tensor(values, dtype=torch.float32)}})


def plan_models(planning: Planning, name: str, replicate: int | None) -> Sequence[ScoreModel | GivenScore]:
    """Plan the rows of the score called ``name``.

    Args:
        planning: The plan in the making.
        name: Name of the score in the study.
        replicate: Replicate that has rows of its own, or None when all replicates share them.

    Returns:
        The stages that give one row each: one per network, or a single one for a score that needs no network.

    Raises:
        StudyError: When its steps do not fit its training.
    """
    spec, rule = planning.study.scores[name], find_score(planning.study.scores[name].kind)
    seed, use = planning.seed("scores", replicate or 0), -1 if replicate is None else replicate
    dataset, data = planning.study.dataset, train_only(planning.facts)
    if rule.needs == "nothing":
        given = GivenScore(
            score=spec.kind,
            seed=seed,
            file=file_digest(spec.path) if spec.path else None,
            column=spec.column,
            data=data,
            dataset=dataset,
            uses=(Use(name, use, model=0),),
            path=spec.path,
        )
        return [planning.keep(given)]
    recipe, network = planning.study.score_training(name), planning.network(spec.model or planning.study.model)
    _check_steps(planning, f"scores.{name}", spec, recipe)
    noise = planning.study.label_noise
    sees = planning.noise(noise, "pretraining", replicate or 0) if spec.labels == "as_pretraining" else None
    models = (
        ScoreModel(
            score=spec.kind,
            index=index,
            network=network,
            recipe=recipe,
            steps=spec.steps,
            seed=seed,
            batch_norm=_batch_norm(name, spec, rule),
            label_noise=sees,
            data=data,
            dataset=dataset,
            uses=(Use(name, use, model=index),),
            cost=network.cost(recipe, spec.steps),
            path=noise.path,
        )
        for index in range(spec.models)
    )
    return [planning.keep(model) for model in models]


def check_score(planning: Planning, name: str) -> None:
    """Refuse what can be known to be wrong with the score called ``name``, whether or not an arm uses it; warn.

    Raises:
        UserError: For an unknown kind, a file that cannot be used, or keys that do not fit the kind.
    """
    spec, path = planning.study.scores[name], f"scores.{name}"
    rule = find_score(spec.kind)
    _check_file(planning, path, spec, rule)
    _check_noise(planning, path, spec, rule)
    lags = _batch_norm(name, spec, rule) == "eval" and spec.steps < FEWEST_STEPS_FOR_EVAL
    if lags and planning.network(spec.model or planning.study.model).has_batch_norm():
        planning.warnings.append(
            f"{path} has batch_norm eval after a training of {spec.steps} steps, when BatchNorm's running "
            "statistics still lag behind the weights, so that other examples rank as easy. Leave "
            f"{path}.batch_norm out to recalibrate them, or train for {FEWEST_STEPS_FOR_EVAL} steps or more."
        )


def _batch_norm(name: str, spec: ScoreSpec, rule: ScoreRule) -> ScoreBatchNorm | None:
    """The BatchNorm mode of a score, None where it has no effect."""
    try:
        return resolve_batch_norm(rule, spec.kind, spec.batch_norm, recorded=rule.needs == "training")
    except DataError as error:
        raise StudyError(
            f"scores.{name}: {error.came}",
            expected=error.expected,
            way_out=f"leave scores.{name}.batch_norm out, or choose another kind",
        ) from None


def _check_noise(planning: Planning, path: str, spec: ScoreSpec, rule: ScoreRule) -> None:
    """Refuse one score for all replicates of labels that differ between them."""
    noise = planning.study.label_noise
    sees = rule.needs != "nothing" and spec.labels == "as_pretraining"
    drawn = noise.per_replicate and planning.noise(noise, "pretraining", 0) is not None
    if sees and drawn and not spec.per_replicate:
        raise StudyError(
            f"{path} is one score for all replicates, but the label noise that it sees is drawn per replicate.",
            expected="a score per replicate, or one of the labels as they came",
            way_out=f"give {path}.per_replicate=true, or {path}.labels=clean",
        )


def _check_file(planning: Planning, path: str, spec: ScoreSpec, rule: ScoreRule) -> None:
    if spec.path is None:
        return
    if rule.needs != "nothing" or spec.kind in ("random", "barrier"):
        raise StudyError(
            f"{path}.path is given, but a score of kind {spec.kind!r} reads no file.",
            expected="path with kind file",
            way_out=f"leave {path}.path out, or give {path}.kind=file",
        )
    file_digest(spec.path)
    if spec.kind == "file":
        count, kept = planning.facts.splits["train"].count, kept_of(planning.study.dataset)
        read_values(spec.path, count, column=spec.column, kept=kept)


def _check_steps(planning: Planning, path: str, spec: ScoreSpec, recipe: Recipe) -> None:
    if spec.steps > recipe.steps:
        raise StudyError(
            f"{path}.steps is {spec.steps}, but its training has {recipe.steps} steps.",
            expected="at most training.steps",
            way_out=f"give fewer {path}.steps, or {path}.training.steps={spec.steps}",
        )
    count = planning.facts.splits["train"].count
    if find_score(spec.kind).needs == "training" and spec.steps * recipe.batch_size < count:
        raise StudyError(
            f"{path} of kind {spec.kind!r} watches a training, but in {spec.steps} steps of "
            f"{recipe.batch_size} it does not see all {count} examples.",
            expected="more than one pass over the data (each drops its last incomplete batch)",
            way_out=f"give more {path}.steps, or a kind that looks at the trained network alone, such as el2n",
        )
