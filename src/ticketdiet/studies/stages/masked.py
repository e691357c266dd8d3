"""A training under a mask, from the rewinding point to the end: what levels, other sparse trainings and children share.

A mask is found (``find_mask``), the weights to start from follow (``start``), and the rest is the same for all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Mask
from ticketdiet.studies.context import Context, rows_of, training_facts
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.stage import INPUT, Result, Stage, Training, TrainingStage
from ticketdiet.tickets.masks import count_kept, density, empty_layers, layer_densities
from ticketdiet.tickets.restarts import Restart
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import Trained
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, Observer
from ticketdiet.training.recipe import Recipe


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskedTraining(TrainingStage):
    """A training from the rewinding point to the end under a mask.

    Attributes:
        seed: Seed of the study.
        replicate: From 0.
        start_step: Step of the rewinding point (k).
        evaluate_every: Steps between evaluations on what is held out; 0 for one at the end.
        ignore: Names of prunable tensors that stay dense, sorted.
        label_noise: Label noise it sees.
        point: Address of the rewinding point.
    """

    seed: int
    replicate: int
    start_step: int
    evaluate_every: int
    ignore: tuple[str, ...]
    label_noise: SeenNoise | None
    point: str = field(metadata=INPUT)

    @property
    def seeds(self) -> RunSeeds:
        """Seeds of the replicate."""
        return RunSeeds.of(self.seed, self.replicate)

    @property
    def subset_address(self) -> str | None:
        """Address of the subset that is trained on, or None for all images."""
        return None

    def initial(self, context: Context) -> nn.Module:
        """Build the network at its initialisation, on the device."""
        return context.build(self.network, self.seeds.initialisation)

    @abstractmethod
    def find_mask(self, context: Context) -> Mask:
        """Find the mask to train under."""

    @abstractmethod
    def start(self, context: Context, mask: Mask) -> Restart:
        """Return the weights to start from, and the recipe from there on."""

    def prepare(self, context: Context) -> Training:
        """Find the mask, and load the weights to start from."""
        mask = self.find_mask(context)
        start = self.start(context, mask)
        splits, held_out = context.splits(self), context.splits(self, train=False)
        observers = evaluations(splits, held_out, start.recipe, self.start_step, self.evaluate_every)
        return self.training(context, mask, start, self.seeds, observers)

    def training(
        self, context: Context, mask: Mask, start: Restart, seeds: RunSeeds, observers: tuple[Observer, ...]
    ) -> Training:
        """Assemble the training from ``start`` under ``mask``, in the data order and augmentation of ``seeds``."""
        model = self.initial(context)
        rewind(model, start.weights, mask)
        return Training(
            model=model,
            images=context.train_images(self, self.label_noise),
            recipe=start.recipe,
            seeds=seeds,
            start_step=self.start_step,
            mask=mask,
            examples=context.subset(self.subset_address),
            observers=observers,
        )

    def finish(self, context: Context, training: Training, trained: Trained) -> Result:
        """Keep weights and mask, and say how dense that is."""
        assert training.mask is not None
        mask = training.mask
        facts: dict[str, Any] = {
            "density": density(mask),
            "kept": count_kept(mask),
            "layer_densities": layer_densities(mask),
            **training_facts(trained),
            **noise_facts(context, self, self.label_noise),
        }
        warnings = tuple(f"{self.label}: every weight of layer {name} is pruned." for name in empty_layers(mask))
        return Result({"weights": trained.weights, "mask": mask}, rows_of(trained), facts, warnings)


def evaluations(
    splits: Mapping[str, Any], held_out: Mapping[str, Any], recipe: Recipe, start: int, every: int
) -> tuple[Observer, ...]:
    """Evaluate on all splits at the end; on what is held out every so often before."""
    along = range(start - start % every + every, recipe.steps, every) if every else ()
    return (
        BatchLossObserver(),
        EvaluationObserver(held_out, tuple(along), recipe.precision, sparse_kernels=recipe.sparse_kernels),
        EvaluationObserver(splits, (recipe.steps,), recipe.precision, sparse_kernels=recipe.sparse_kernels),
    )


def noise_facts(context: Context, stage: Stage, noise: SeenNoise | None) -> dict[str, int]:
    """Count the labels that differ from those that came."""
    if noise is None:
        return {}
    changed = context.train_images(stage, noise).labels != context.images(stage).train.labels
    return {"labels_changed": int(changed.sum())}
