"""The rewinding point: a network after k dense steps of pre-training on a subset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from ticketdiet.core.errors import StudyError
from ticketdiet.core.options import make, written_out
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.data.parts import subset_splits
from ticketdiet.landscape.gradient_agreement import gradient_agreement
from ticketdiet.studies.context import Context, rows_of, training_facts
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.spec import Arm
from ticketdiet.studies.stage import INPUT, Result, Row, Training, TrainingStage, Use
from ticketdiet.studies.stages.masked import noise_facts
from ticketdiet.studies.stages.subset import SubsetRequest
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.batch_norm import recalibrated
from ticketdiet.training.loop import Trained
from ticketdiet.training.objectives import OBJECTIVES, Objective, Pretraining
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, Observer
from ticketdiet.training.recipe import Recipe


@dataclass(frozen=True, eq=False, kw_only=True)
class Pretrain(TrainingStage):
    """The pre-training of one replicate, dense, for k steps.

    Without a step only what the point is measured by can tell it from another's: its recipe has one step, the
    precision of the training to come and, for the gradient agreement, its batch size.

    Attributes:
        seed: Seed of the study.
        replicate: From 0.
        steps: k.
        objective: Registered name of what it learns to predict.
        objective_options: Its options, defaults written out.
        evaluate_every: Steps between evaluations; 0 for one at the end.
        gradient_agreement: Whether gradients of batches are compared at the point.
        label_noise: Label noise it sees.
        subset: Address of the subset it sees, or None for all images.
    """

    kind = "pretrain"
    version = 4

    seed: int
    replicate: int
    steps: int
    objective: str
    objective_options: Mapping[str, Any]
    evaluate_every: int
    gradient_agreement: bool
    label_noise: SeenNoise | None
    subset: str | None = field(metadata=INPUT)

    @property
    def seeds(self) -> RunSeeds:
        """Seeds of the replicate."""
        return RunSeeds.of(self.seed, self.replicate)

    def initial(self, context: Context) -> nn.Module:
        """Build the network at its initialisation, on the device."""
        return context.build(self.network, self.seeds.initialisation)

    def prepare(self, context: Context) -> Training:
        """Build what the objective trains, and on what."""
        examples, objective = context.subset(self.subset), self._objective()
        images = context.train_images(self, self.label_noise)
        whole = Pretraining(self.initial(context), images, self.recipe, self.seeds, examples)
        if objective.predicts_labels:
            observers = self._evaluations(context.splits(self), examples)
        else:
            splits = objective.evaluated(context.splits(self), self.seeds)
            observers = [self._evaluation(splits, self._evaluated_at())]
        return Training(
            model=objective.network(whole),
            images=images,
            recipe=self.recipe,
            seeds=self.seeds,
            stop_step=self.steps,
            examples=examples,
            batches=objective.batches(whole),
            observers=tuple(observers),
        )

    def finish(self, context: Context, training: Training, trained: Trained) -> Result:
        """Keep the weights; evaluate the point with recalibrated BatchNorm, and the agreement of its gradients."""
        model = self.initial(context)
        initial = {name: value.cpu() for name, value in model.state_dict().items()}
        weights = self._objective().point(trained.weights, initial, model)
        rows = rows_of(trained) + self._recalibrated_rows(context, weights)
        rows += self._agreement_rows(context, weights, training.examples)
        facts = {**training_facts(trained), **noise_facts(context, self, self.label_noise)}
        return Result({"weights": weights}, rows, facts)

    def _objective(self) -> Objective:
        return make(OBJECTIVES, self.objective, self.objective_options)

    def _evaluated_at(self) -> set[int]:
        every = self.evaluate_every
        return {*range(0, self.steps, every), self.steps} if every else {self.steps}

    def _evaluations(self, splits: Mapping[str, Images], examples: np.ndarray | None) -> list[Observer]:
        """All splits, and the subset and the rest of the training images, every so often and at the end."""
        at = self._evaluated_at()
        parts = {} if examples is None else subset_splits(splits["train"], examples)
        observers: list[Observer] = [BatchLossObserver(), self._evaluation({**splits, **parts}, at)]
        return [*observers, self._recalibrated({**splits, **parts}, at)] if self.evaluate_every else observers

    def _evaluation(self, splits: Mapping[str, Images], steps: Collection[int], **options: Any) -> EvaluationObserver:
        recipe = self.recipe
        return EvaluationObserver(splits, steps, recipe.precision, sparse_kernels=recipe.sparse_kernels, **options)

    def _recalibrated(self, splits: Mapping[str, Images], steps: Collection[int]) -> EvaluationObserver:
        def within(model: nn.Module) -> AbstractContextManager[object]:
            recipe = self.recipe
            images = splits["train"]
            return recalibrated(model, images, precision=recipe.precision, sparse_kernels=recipe.sparse_kernels)

        return self._evaluation(splits, steps, within=within, suffix="_recalibrated")

    def _recalibrated_rows(self, context: Context, weights: Mapping[str, Tensor]) -> tuple[Row, ...]:
        """Evaluate the point with BatchNorm's running statistics measured again: early on they lag far behind."""
        if not self._objective().predicts_labels or self.evaluate_every:
            return ()  # its head has seen no labels, or all was evaluated so on the way
        model = self.initial(context)
        rewind(model, weights)
        observer = self._recalibrated(context.splits(self), {self.steps})
        observer.look(self.steps, model)
        return tuple(vars(row) for row in observer.rows())

    def _agreement_rows(
        self, context: Context, weights: Mapping[str, Tensor], examples: np.ndarray | None
    ) -> tuple[Row, ...]:
        """Compare how well batches of all data and of the subset agree on the gradient at the point."""
        if not self.gradient_agreement:
            return ()
        images, model = context.train_images(self, self.label_noise), self.initial(context)
        rewind(model, weights)
        subsets = {"all": np.arange(len(images))} | ({"subset": examples} if examples is not None else {})
        batch_size = min(self.recipe.batch_size, min(map(len, subsets.values())) // 2)  # two batches are disjoint
        found = gradient_agreement(
            model, images, subsets, batch_size=batch_size, precision=self.recipe.precision, seed=self.seed
        )
        return tuple(
            {"step": self.steps, "metric": "gradient_cosine", "split": one.name, "value": one.mean_cosine}
            for one in found
        )

    @classmethod
    def plan(cls, planning: Planning, arm: Arm, replicate: int) -> Pretrain:
        """Return the planned rewinding point of a replicate of ``arm``.

        Raises:
            UserError: When its subset does not fit the data, or it has more steps than training.
        """
        study, pretrain = planning.study, arm.pretrain
        network, steps = planning.network(arm.model), _steps(planning, arm)
        agreement = study.measure.gradient_agreement
        # Without a step, noise of other images does not fit the study's own, which the agreement is measured on.
        sees_noise = steps > 0 or (agreement and pretrain.dataset is None)
        noise = planning.noise(arm.label_noise, "pretraining", replicate) if sees_noise else None
        recipe, dataset = arm.pretraining, pretrain.dataset
        if not steps:
            batch_size = arm.training.batch_size if agreement else 1
            recipe = Recipe(steps=1, batch_size=batch_size, precision=arm.training.precision)
            dataset = None
        subset = SubsetRequest.of_pretraining(arm).plan(planning, replicate) if steps else None
        objective, given = (pretrain.objective, pretrain.objective_options) if steps else ("labels", {})
        options = written_out(OBJECTIVES, objective, given)
        return planning.keep(
            cls(
                network=network,
                seed=study.seed,
                replicate=replicate,
                steps=steps,
                recipe=recipe,
                objective=objective,
                objective_options=options,
                evaluate_every=pretrain.evaluate_every if steps else 0,
                gradient_agreement=agreement,
                label_noise=noise,
                subset=subset.address if subset is not None else None,
                data=planning.facts_of(dataset, f"arms.{arm.name}.pretrain.dataset").fingerprints,
                dataset=dataset or study.dataset,
                uses=(Use(arm.name, replicate),),
                cost=network.cost(recipe, steps),
                path=arm.label_noise.path if noise is not None else None,
            )
        )


def _steps(planning: Planning, arm: Arm) -> int:
    steps = arm.pretrain.steps
    if arm.pretrain.passes is not None:
        size = SubsetRequest.of_pretraining(arm).size(planning)
        steps = arm.pretrain.passes * (size // arm.pretraining.batch_size)
    most = arm.most_pretraining_steps
    if steps > most:
        raise StudyError(
            f"arms.{arm.name}.pretrain makes {steps} steps, but training has {most}.",
            expected=f"at most {most} steps (k <= T)",
            way_out="give fewer steps or passes, or more training.steps",
        )
    return steps
