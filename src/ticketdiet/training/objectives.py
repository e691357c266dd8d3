"""Objectives: what pre-training predicts, up to the rewinding point.

Paul et al. 2022 (arXiv 2206.01278) ask what of the early phase matters, the images, the labels, or that they belong
together. An objective is a class with one verb, ``batches``; one that predicts something other than the classes also
says which network does it, what it is evaluated on, and what of the trained weights becomes the rewinding point.

Another package adds one with ``OBJECTIVES.register(name)`` or an entry point in the group ``ticketdiet.objectives``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.options import Configurable
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import RunSeeds, numpy_generator
from ticketdiet.core.values import Images, Weights
from ticketdiet.training.batches import BatchSource, ImageBatches
from ticketdiet.training.loop import Trained, train
from ticketdiet.training.observers import Observer
from ticketdiet.training.pretext import (
    ROTATIONS,
    RotationBatches,
    head_name,
    pretext_weights,
    rotated_images,
    with_head,
)
from ticketdiet.training.recipe import Recipe

OBJECTIVES: Registry[type[Objective]] = Registry("objective")


@dataclass(frozen=True, eq=False)
class Pretraining:
    """What is pre-trained, on what and how.

    Attributes:
        model: The network of the task, at its initialisation.
        images: All training images, on the device of the network.
        recipe: How to train.
        seeds: Seeds of the run.
        examples: int64 indices of the subset to train on, or None for all.
    """

    model: nn.Module
    images: Images
    recipe: Recipe
    seeds: RunSeeds
    examples: np.ndarray | None = None


class Objective(Configurable):
    """What pre-training predicts. Override ``batches``; register the class under a name in ``OBJECTIVES``.

    Attributes:
        predicts_labels: Whether it predicts the labels as they are given. Where it does not, the accuracy of the
            rewinding point on the task says nothing of the pre-training.
    """

    kind = "objective"
    predicts_labels: ClassVar[bool] = False

    def batches(self, pretraining: Pretraining) -> BatchSource:
        """Return where batches come from: inputs, and labels (int64) for the outputs of ``network``."""
        raise NotImplementedError

    def network(self, pretraining: Pretraining) -> nn.Module:
        """Return the network that is trained, in place: that of the task, unless another head is needed."""
        return pretraining.model

    def evaluated(self, splits: Mapping[str, Images], seeds: RunSeeds) -> dict[str, Images]:
        """Return what the trained network is evaluated on, by name, from the task's own splits."""
        return dict(splits)

    def point(self, trained: Weights, initial: Weights, model: nn.Module) -> dict[str, Tensor]:
        """Return the rewinding point, a whole ``state_dict`` of the network of the task.

        Args:
            trained: The ``state_dict`` of ``network`` after training, on the CPU.
            initial: That of the network of the task at its initialisation, on the CPU.
            model: The network of the task, for its names.
        """
        return dict(trained)


@OBJECTIVES.register("labels")
class Labels(Objective):
    """The classes of augmented images, as in ordinary training."""

    predicts_labels = True

    def batches(self, pretraining: Pretraining) -> BatchSource:
        """Return batches of the subset."""
        return ImageBatches(pretraining.images, pretraining.recipe, pretraining.seeds, pretraining.examples)


@OBJECTIVES.register("rotation")
class Rotation(Objective):
    """By how many quarter turns an image was rotated, without labels (Gidaris et al. 2018).

    The network gets a head of four outputs for it; the rewinding point has the body as trained and the head as
    initialised. See :mod:`ticketdiet.training.pretext`.
    """

    def batches(self, pretraining: Pretraining) -> BatchSource:
        """Return batches of rotated images, labelled by their rotation."""
        return RotationBatches(pretraining.images, pretraining.recipe, pretraining.seeds, pretraining.examples)

    def network(self, pretraining: Pretraining) -> nn.Module:
        """Return a copy of the network with a head of four outputs."""
        return with_head(pretraining.model, ROTATIONS, pretraining.seeds.initialisation)

    def evaluated(self, splits: Mapping[str, Images], seeds: RunSeeds) -> dict[str, Images]:
        """Return every split rotated, as ``NAME_rotated``."""
        return {f"{name}_rotated": rotated_images(images) for name, images in splits.items()}

    def point(self, trained: Weights, initial: Weights, model: nn.Module) -> dict[str, Tensor]:
        """Return the trained body under the initial head."""
        return pretext_weights(trained, initial, head_name(model))


@OBJECTIVES.register("random_labels")
class RandomLabels(Objective):
    """Labels that were permuted over the whole training set: same images and class counts, nothing to learn.

    The control of Zhang et al. 2017 (arXiv 1611.03530). The permutation is drawn once per run, so that the wrong labels
    can be memorised; the rewinding point keeps the trained head.
    """

    def batches(self, pretraining: Pretraining) -> BatchSource:
        """Return batches of the subset under permuted labels."""
        images = _permuted(pretraining.images, pretraining.seeds)
        return ImageBatches(images, pretraining.recipe, pretraining.seeds, pretraining.examples)

    def evaluated(self, splits: Mapping[str, Images], seeds: RunSeeds) -> dict[str, Images]:
        """Return the training images under their permuted labels, as ``train_random_labels``."""
        return {"train_random_labels": _permuted(splits["train"], seeds)} if "train" in splits else {}


def _permuted(images: Images, seeds: RunSeeds) -> Images:
    order = numpy_generator(seeds.initialisation, "random_labels").permutation(len(images))
    return replace(images, labels=images.labels[torch.from_numpy(order).to(images.labels.device)])


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What pre-training gives.

    Attributes:
        point: The rewinding point, a whole ``state_dict`` of the network of the task, copies on the CPU.
        trained: The training itself, of the network that the objective trained.
    """

    point: Mapping[str, Tensor]
    trained: Trained


def pretrain(
    objective: Objective, pretraining: Pretraining, *, stop_step: int, observers: Sequence[Observer] = ()
) -> Pretrained:
    """Train from initialisation to the rewinding point.

    Args:
        objective: What is predicted; ``OBJECTIVES.get("labels")()`` is ordinary training.
        pretraining: What is trained. Its model is trained in place, unless the objective needs another head.
        stop_step: k, the step of the rewinding point.
        observers: What else happens at a step.

    Returns:
        The rewinding point and the training that led to it.

    Raises:
        UserError: For steps out of range, or images or a network that the objective cannot be used with.
        TrainingDiverged: When the loss is not finite.
    """
    model = pretraining.model
    initial = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
    trained = train(
        objective.network(pretraining),
        pretraining.images,
        pretraining.recipe,
        seeds=pretraining.seeds,
        stop_step=stop_step,
        observers=observers,
        batches=objective.batches(pretraining),
    )
    return Pretrained(objective.point(trained.weights, initial, model), trained)
