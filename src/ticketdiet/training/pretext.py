"""Pre-training without labels: predict by how many quarter turns an image was rotated.

After Gidaris et al. 2018 (arXiv 1803.07728), as a control of Paul et al. 2022 (arXiv 2206.01278): does the early phase
need the labels at all? The paper shows all four rotations of an image in one batch; here every example is shown under
one rotation per epoch, so that a step costs and sees what a step of labelled pre-training does.

``training.objectives`` puts the parts together: swap the head, train on rotated images, put the initial head back::

    model = build_model("resnet20")
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    rotator = with_head(model, ROTATIONS, seed=seeds.initialisation)
    trained = train(rotator, images, recipe, seeds=seeds, stop_step=k, batches=RotationBatches(images, recipe, seeds))
    point = pretext_weights(trained.weights, initial, head=head_name(model))
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.pixels import PixelView
from ticketdiet.core.seeds import RunSeeds, numpy_generator, torch_generator
from ticketdiet.core.values import Images, Weights
from ticketdiet.training.batches import Batch, ImageBatches
from ticketdiet.training.recipe import Recipe

ROTATIONS = 4
ROTATION_NAMES = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")


class RotationBatches:
    """The batches of ``ImageBatches``, each example rotated and labelled by its rotation: a ``BatchSource``.

    Order, crops and flips are those of labelled training under the same seeds. The rotation is a function of
    (augmentation seed, epoch, example), so that any batch is known without replaying earlier ones.

    Args:
        images: Square images, on the device of the network; their labels are not looked at.
        recipe: Gives batch size, crop padding and flip.
        seeds: Gives the order and augmentation seeds.
        examples: int64 indices of the subset to train on, or None for all.

    Raises:
        DataError: When the images are not square, or there are fewer examples than one batch.
    """

    def __init__(self, images: Images, recipe: Recipe, seeds: RunSeeds, examples: np.ndarray | None = None) -> None:
        _check_square(images)
        self._images, self._seeds = images, seeds
        self._upright = ImageBatches(images, recipe, seeds, examples)
        self._drawn: tuple[int, Tensor] | None = None
        self.steps_per_epoch = self._upright.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``: labels are quarter turns counter-clockwise, int64 (batch,) in [0, 4)."""
        upright = self._upright.batch(step)
        turns = self._turns(step // self.steps_per_epoch)[upright.indices]
        return Batch(rotate(upright.inputs, turns), turns, upright.indices)

    def unique_examples(self, start_step: int, stop_step: int) -> int:
        """Count the different examples, whatever their rotation, that the steps in ``[start_step, stop_step)`` show."""
        return self._upright.unique_examples(start_step, stop_step)

    def _turns(self, epoch: int) -> Tensor:
        if self._drawn is None or self._drawn[0] != epoch:
            drawn = numpy_generator(self._seeds.augmentation, "turns", epoch).integers(0, ROTATIONS, len(self._images))
            self._drawn = epoch, torch.from_numpy(drawn).to(self._images.labels.device)
        return self._drawn[1]


def rotate(pixels: Tensor, turns: Tensor) -> Tensor:
    """Rotate each image counter-clockwise by its number of quarter turns.

    Args:
        pixels: (batch, channels, side, side), any dtype and memory layout.
        turns: int64 (batch,), in [0, 4).

    Returns:
        A new tensor of the shape, dtype and layout of ``pixels``.
    """
    rotated = pixels.clone()
    for quarter in range(1, ROTATIONS):
        chosen = turns == quarter
        rotated[chosen] = torch.rot90(pixels[chosen], quarter, (-2, -1))
    return rotated


def rotated_images(images: Images, seed: int = 0) -> Images:
    """Rotate every image by a drawn number of quarter turns, to evaluate how well rotations are told apart.

    Args:
        images: Square images.
        seed: Seed of the rotations.

    Returns:
        Images labelled by their rotation, of four classes.

    Raises:
        DataError: When the images are not square.
    """
    _check_square(images)
    drawn = torch.from_numpy(numpy_generator(seed, "turned").integers(0, ROTATIONS, len(images)))
    turns = drawn.to(images.labels.device)
    if isinstance(images.pixels, PixelView):
        pixels = images.pixels.changed(lambda shown, where: rotate(shown, drawn[where])).as_tensor()
    else:
        pixels = rotate(images.pixels, turns)
    return replace(images, pixels=pixels, labels=turns, class_names=ROTATION_NAMES)


def head_name(model: nn.Module) -> str:
    """Return the name of the classifier head: the last Linear layer in the order of registration.

    Raises:
        UserError: When the network has none.
    """
    names: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names or not names[-1]:
        raise UserError(
            "The network has no linear layer inside it that can be replaced by another head.",
            expected="a network that ends in an nn.Linear",
            way_out="use another model, or pre-train on labels",
        )
    return names[-1]


def with_head(model: nn.Module, num_classes: int, seed: int = 0) -> nn.Module:
    """Return a copy of ``model`` with a head of ``num_classes`` outputs; the body keeps its weights.

    The new head's weights are drawn from the normal distribution of He et al. (fan-in, gain sqrt(2)), its bias is 0.

    Args:
        model: A network that ends in a Linear layer; it is left as it is.
        num_classes: Outputs of the new head; ``ROTATIONS`` for rotations.
        seed: Seed of the new head.

    Returns:
        The copy, on the device of ``model``.

    Raises:
        UserError: When there is no head to swap.
    """
    name = head_name(model)
    network = copy.deepcopy(model)
    old = network.get_submodule(name)
    assert isinstance(old, nn.Linear)
    new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None, device="meta", dtype=old.weight.dtype)
    new.to_empty(device="cpu")
    nn.init.kaiming_normal_(new.weight, nonlinearity="relu", generator=torch_generator(seed, "head", num_classes))
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    network.set_submodule(name, new.to(old.weight.device).train(old.training))
    return network


def pretext_weights(point: Weights, initial: Weights, head: str) -> dict[str, Tensor]:
    """Return the rewinding point for labelled training: the body as pre-trained, the head as initialised.

    Args:
        point: The ``state_dict`` after pre-training under another head.
        initial: The ``state_dict`` of the labelled network at initialisation.
        head: Name of the head; see ``head_name``.

    Returns:
        A whole ``state_dict`` of the labelled network, BatchNorm buffers of the body included, as copies.

    Raises:
        UserError: When the bodies are not those of one network, or ``initial`` has no such head.
    """
    own = [name for name in initial if name.startswith(f"{head}.")]
    body = [name for name in initial if name not in own]
    misfit = [name for name in body if name not in point or point[name].shape != initial[name].shape]
    if misfit or not own:
        raise UserError(
            f"The tensor {misfit[0]!r} differs between the two networks." if misfit else f"There is no head {head!r}.",
            expected="the same network with two different heads",
            way_out="make the second with with_head(model, ...), and name the head by head_name(model)",
        )
    return {name: (initial if name in own else point)[name].clone() for name in initial}


def _check_square(images: Images) -> None:
    shape = tuple(images.pixels.shape[1:])
    if len(shape) != 3 or shape[1] != shape[2]:
        raise DataError(
            f"Got images of shape {shape} to rotate.",
            expected="square images (channels, side, side)",
            way_out="crop or pad the images before loading them, or pre-train on labels",
        )
