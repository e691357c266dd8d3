"""A ticket of your own network: pre-train, search masks level by level, train each; without a study or a store.

The three phases of Paul et al. 2022 (arXiv 2206.01278), section 2: pre-training to the rewinding point, IMP with weight
rewinding, sparse training. The training of a level is both the sparse training at its density and the search for the
next level's mask.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import DataError, UserError, first_line
from ticketdiet.core.options import make
from ticketdiet.core.seeds import RunSeeds, derive_seed
from ticketdiet.core.values import Images
from ticketdiet.data.checks import as_array, check_indices, check_seed, is_integer
from ticketdiet.tickets.masks import dense_mask, density
from ticketdiet.tickets.pruning import Rule, check_pruning
from ticketdiet.tickets.pruning_criteria import PruningCriterion, PruningSubject, find_criterion, prune_by
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.evaluation import device_of, evaluate, predict_logits
from ticketdiet.training.loop import train as train_network
from ticketdiet.training.objectives import OBJECTIVES, Objective, Pretraining, pretrain
from ticketdiet.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Level:
    """One level of the search.

    Attributes:
        number: 0 is dense.
        density: Fraction of prunable weights kept.
        accuracy: Accuracy on the held-out images, in [0, 1].
        mask: Name -> uint8 tensor of 0 and 1.
        weights: The trained ``state_dict`` under the mask.
    """

    number: int
    density: float
    accuracy: float
    mask: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class TicketSearch:
    """What ``find_ticket`` found.

    Attributes:
        rewinding_point: Weights after pre-training, from which every level starts.
        pretrain_steps: k, the step of the rewinding point.
        levels: All levels, dense first.
    """

    rewinding_point: Mapping[str, Tensor]
    pretrain_steps: int
    levels: tuple[Level, ...]

    def matching(self, tolerance: float = 0.005) -> Level:
        """Return the sparsest level whose accuracy is at least the dense one's less ``tolerance``.

        Pick the tolerance before you look; with a separate validation set the choice does not touch the test set.
        """
        return [level for level in self.levels if level.accuracy >= self.levels[0].accuracy - tolerance][-1]


def find_ticket(
    model: nn.Module,
    train: object,
    test: object,
    *,
    recipe: Recipe | None = None,
    pretrain_steps: int = 0,
    subset: np.ndarray | Tensor | Sequence[int] | None = None,
    levels: int = 8,
    fraction: float = 0.2,
    rule: Rule = "exact",
    criterion: str | PruningCriterion = "magnitude",
    objective: str | Objective = "labels",
    ignore: Sequence[str] = (),
    seed: int = 0,
    on_level: Callable[[Level], None] | None = None,
) -> TicketSearch:
    """Find a sparse trainable network of ``model`` by iterative magnitude pruning with rewinding.

    Args:
        model: Your float32 classifier. Its present weights are the initialisation; it is left as it was.
        train: Training examples: ``Images``, a pair (inputs, labels) of tensors, or a map-style dataset of such pairs.
            uint8 images (n, c, h, w) are normalised and augmented; float32 inputs are taken as prepared. A dataset is
            read once, so random transforms belong in the recipe instead.
        test: Held-out examples, likewise.
        recipe: How to train; default 2000 steps of batch 128 at lr 0.1, or smaller batches for small data.
        pretrain_steps: k: steps of dense pre-training before the rewinding point; they count toward ``recipe.steps``.
        subset: Indices of the training examples that pre-training sees, no repeats; default all.
        levels: Prunings; the last density is about ``(1 - fraction) ** levels``.
        fraction: Fraction of the kept weights removed per level.
        rule: ``"exact"``, or ``"threshold"`` for the published rule.
        criterion: What pruning goes by: a name of ``PRUNING_CRITERIA``, or a criterion with options.
        objective: What pre-training predicts: a name of ``OBJECTIVES``, or an objective with options.
        ignore: Names of weights to leave dense.
        seed: Decides data order and augmentation.
        on_level: Called with each level as it is done, for progress.

    Returns:
        The rewinding point and every level with mask, weights and accuracy.

    Raises:
        UserError: For examples, steps, fractions or names that cannot be used.
        TrainingDiverged: When a loss stops being finite.
    """
    if not is_integer(levels) or levels < 0:
        raise UserError(f"Got levels={levels!r}.", expected="an integer of at least 0", way_out="for example levels=8")
    check_pruning(fraction, rule)
    check_seed(seed)
    criterion = find_criterion(criterion)
    objective = make(OBJECTIVES, objective) if isinstance(objective, str) else objective
    images = as_images(train)
    chosen = None if subset is None else as_array(subset, "subset")
    if chosen is not None:
        check_indices(chosen, np.arange(len(images)))
    held_out = as_images(test, like=images)
    recipe = recipe or Recipe(steps=2000, batch_size=min(128, max(1, len(images))), precision="float32")
    network, seeds = copy.deepcopy(model), RunSeeds.of(seed, 0)
    mask = dense_mask(network, ignore)
    _check_outputs(network, images)
    examples = chosen if pretrain_steps else None  # in the order given, which the order of the batches follows
    pretraining = Pretraining(network, images.to(device_of(network)), recipe, seeds, examples)
    point = pretrain(objective, pretraining, stop_step=pretrain_steps).point
    found: list[Level] = []
    for number in range(levels + 1):
        rewind(network, point, mask)
        weights = train_network(network, images, recipe, seeds=seeds, start_step=pretrain_steps, mask=mask).weights
        evaluation = evaluate(network, held_out, precision=recipe.precision, sparse_kernels=recipe.sparse_kernels)
        accuracy = evaluation.accuracy
        found.append(Level(number, density(mask), accuracy, mask, weights))
        if on_level is not None:
            on_level(found[-1])
        if number < levels:
            subject = PruningSubject(network, weights, point, mask, images, derive_seed(seed, "pruning", number))
            mask = prune_by(criterion, subject, fraction, rule)
    return TicketSearch(point, pretrain_steps, tuple(found))


def _check_outputs(network: nn.Module, images: Images) -> None:
    try:
        shape = tuple(predict_logits(network, images.take(np.array([0]))).shape)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"The model cannot take inputs of shape {tuple(images.pixels.shape[1:])}: {first_line(error)}",
            expected="a module that maps (batch, ...) to logits (batch, classes)",
            way_out="reshape the inputs, or use another model",
        ) from error
    if len(shape) != 2 or shape[1] < images.num_classes:
        raise UserError(
            f"The model gives an output of shape {shape} for one example, and there are {images.num_classes} classes.",
            expected=f"logits of shape (1, {images.num_classes})",
            way_out="give the model a last layer with one output per class",
        )


def as_images(examples: object, like: Images | None = None) -> Images:
    """Turn ``Images``, a pair of tensors or a map-style dataset into ``Images``.

    Args:
        examples: ``Images``; a pair (inputs, labels); or anything with ``len`` and integer indexing to (input, label).
        like: Training images whose classes and normalisation to use; default: from the examples themselves.

    Returns:
        The examples as they came if they are ``Images``, else stacked on the CPU, with labels as int64.

    Raises:
        DataError: When the examples are none of these, or empty.
    """
    if isinstance(examples, Images):
        return examples
    inputs, labels = _stack(examples)
    if not len(inputs):
        raise DataError("There are no examples.", expected="at least one example", way_out="check the data set")
    labels = torch.as_tensor(labels, dtype=torch.int64)
    inputs = torch.as_tensor(inputs)
    inputs = inputs if inputs.dtype == torch.uint8 and inputs.dim() == 4 else inputs.float()
    classes = like.class_names if like else tuple(str(c) for c in range(int(labels.max()) + 1))
    if inputs.dtype != torch.uint8:
        return Images(inputs, labels, classes)
    mean, std = (like.mean, like.std) if like else _channel_statistics(inputs)
    if len(mean) != inputs.shape[1]:
        raise DataError(
            f"The uint8 images have {inputs.shape[1]} channels, but the training examples have {len(mean)}.",
            expected="both splits prepared in the same way",
            way_out="give both as uint8 images of the same channels, or both as float32 inputs",
        )
    return Images(inputs, labels, classes, mean, std)


def _stack(examples: object) -> tuple[Tensor, Tensor]:
    if isinstance(examples, tuple | list) and len(examples) == 2:
        return torch.as_tensor(examples[0]), torch.as_tensor(examples[1])
    if not (hasattr(examples, "__len__") and hasattr(examples, "__getitem__")):
        raise DataError(
            f"Got examples of type {type(examples).__name__}.",
            expected="Images, a pair of tensors (inputs, labels), or a map-style dataset of (input, label)",
            way_out="stack the examples into two tensors",
        )
    pairs = [examples[i] for i in range(len(examples))]
    if not pairs:
        return torch.empty(0), torch.empty(0)
    try:
        if not isinstance(pairs[0][0], Tensor | np.ndarray | Sequence):
            raise TypeError(f"they are of type {type(pairs[0][0]).__name__}")
        inputs = torch.stack([torch.as_tensor(pair[0]) for pair in pairs])
    except (RuntimeError, TypeError) as error:
        raise DataError(
            f"The inputs cannot be stacked: {error}.",
            expected="tensors or arrays of one shape",
            way_out="add a transform (resize, to tensor) to the dataset",
        ) from error
    return inputs, torch.tensor([int(pair[1]) for pair in pairs])


def _channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = pixels.double().transpose(0, 1).flatten(1) / 255
    std = channels.std(1, correction=0).clamp_min(1e-8)
    return tuple(channels.mean(1).tolist()), tuple(std.tolist())
