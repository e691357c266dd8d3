"""Masks of one cut at a chosen density, by name: what iterative magnitude pruning has to beat.

A criterion is a class with one verb, ``scores``; what has the highest scores stays. ``erk`` and ``synflow`` distribute
or repeat the cut and so override ``mask``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import torch_generator
from ticketdiet.core.values import Images, Weights
from ticketdiet.tickets.cutting import erk_counts, mask_from_counts, mask_from_scores
from ticketdiet.tickets.masks import prunable_names
from ticketdiet.tickets.sensitivity import SNIP_IMAGES, snip_scores, synflow_mask

Needs = Literal["nothing", "initial_weights", "images", "trained_weights"]
Shapes = Mapping[str, Sequence[int]]

MASK_CRITERIA: Registry[type[Criterion]] = Registry("mask_criterion")


def prunable_shapes(model: nn.Module, ignore: Iterable[str] = ()) -> dict[str, tuple[int, ...]]:
    """Shapes of the prunable tensors of ``model`` by name."""
    weights = dict(model.named_parameters())
    return {name: tuple(weights[name].shape) for name in prunable_names(model, ignore)}


def random_mask(shapes: Shapes, density: float, seed: int = 0) -> dict[str, Tensor]:
    """Keep weights at random, uniformly over the whole network.

    Args:
        shapes: Prunable name -> shape; see ``prunable_shapes``.
        density: Share of all weights to keep, in (0, 1].
        seed: Each layer's draw is a function of this and its name. Under one seed a sparser mask is nested in a denser.

    Returns:
        Name -> uint8 mask, of exactly ``round(density * weights)`` ones in all.

    Raises:
        UserError: For a density outside (0, 1], or one that keeps nothing.
    """
    return mask_from_scores(_chances(shapes, seed), density)


def erk_mask(shapes: Shapes, density: float, seed: int = 0) -> dict[str, Tensor]:
    """Keep weights at random, in numbers by layer after Evci et al. 2020; see ``erk_counts``.

    Args:
        shapes: Prunable name -> shape; see ``prunable_shapes``.
        density: Share of all weights to keep, in (0, 1].
        seed: Each layer's draw is a function of this and its name.

    Returns:
        Name -> uint8 mask, of exactly ``round(density * weights)`` ones in all.

    Raises:
        UserError: For a density outside (0, 1], or one that keeps nothing.
    """
    return mask_from_counts(_chances(shapes, seed), erk_counts(shapes, density))


def magnitude_mask(weights: Weights, density: float, names: Iterable[str]) -> dict[str, Tensor]:
    """One-shot pruning: keep the weights of largest magnitude over the whole network, in one cut.

    The control of Frankle and Carbin 2019 (arXiv 1803.03635) against pruning in levels.

    Args:
        weights: Trained weights; may hold more than ``names``.
        density: Share of the weights called ``names`` to keep, in (0, 1].
        names: What is prunable; see ``prunable_names``.

    Returns:
        Name -> uint8 mask, of exactly ``round(density * weights)`` ones in all.

    Raises:
        UserError: For a density outside (0, 1], a name that matches no weight, or weights that are not finite.
    """
    return mask_from_scores({name: _weight(weights, name).abs() for name in names}, density)


@dataclass(frozen=True, eq=False)
class MaskSubject:
    """What a criterion looks at.

    Attributes:
        model: The network, holding the weights to judge; it is left as it is.
        density: Share of prunable weights to keep, in (0, 1].
        seed: Seed of whatever the criterion draws.
        images: Labelled images for criteria that look at data, un-augmented.
        num_images: How many of them such a criterion draws with the seed, all when there are fewer; None for all.
        input_shape: Shape of one input, for criteria that run the network without data; default that of the images.
        ignore: Names of prunable tensors to leave dense.
    """

    model: nn.Module
    density: float
    seed: int = 0
    images: Images | None = None
    num_images: int | None = SNIP_IMAGES
    input_shape: Sequence[int] | None = None
    ignore: tuple[str, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the prunable tensors by name."""
        return prunable_shapes(self.model, self.ignore)

    def needed_images(self) -> Images:
        """Return the images.

        Raises:
            UserError: When there are none.
        """
        if self.images is None:
            raise UserError("no images for a mask that needs them.", expected="labelled images", way_out="give images=")
        return self.images

    def needed_shape(self) -> Sequence[int]:
        """Return the shape of one input.

        Raises:
            UserError: When neither it nor images are given.
        """
        return self.input_shape if self.input_shape is not None else self.needed_images().pixels.shape[1:]


class Criterion:
    """A way to choose a mask in one go. Override ``scores``; register the class under a name in ``MASK_CRITERIA``.

    Attributes:
        needs: What the network holds and what else is looked at: ``"nothing"`` (shapes will do), ``"initial_weights"``,
            ``"images"`` (with initial weights), or ``"trained_weights"``.
    """

    needs: Needs = "initial_weights"

    def scores(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Return prunable name -> finite tensor of the weight's shape; high means keep."""
        raise NotImplementedError

    def mask(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Return name -> uint8 mask of exactly ``round(density * weights)`` ones: one cut over all layers."""
        return mask_from_scores(self.scores(subject), subject.density)


@MASK_CRITERIA.register("magnitude")
class Magnitude(Criterion):
    """One-shot magnitude pruning of trained weights; see ``magnitude_mask``."""

    needs: Needs = "trained_weights"

    def scores(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Return the magnitudes."""
        weights = dict(subject.model.named_parameters())
        return {name: weights[name].detach().abs() for name in subject.shapes}


@MASK_CRITERIA.register("random")
class Chance(Criterion):
    """Uniform over the whole network; see ``random_mask``."""

    needs: Needs = "nothing"

    def scores(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Return uniform draws."""
        return _chances(subject.shapes, subject.seed)


@MASK_CRITERIA.register("erk")
class ErdosRenyiKernel(Criterion):
    """Random, with the layer densities of Evci et al. 2020; see ``erk_mask``."""

    needs: Needs = "nothing"

    def mask(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Cut every layer to its own count."""
        return erk_mask(subject.shapes, subject.density, subject.seed)


@MASK_CRITERIA.register("snip")
class Snip(Criterion):
    """Connection sensitivity of Lee et al. 2019; see ``snip_scores``."""

    needs: Needs = "images"

    def scores(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Return the sensitivities."""
        return snip_scores(
            subject.model,
            subject.needed_images(),
            num_images=subject.num_images,
            seed=subject.seed,
            ignore=subject.ignore,
        )


@MASK_CRITERIA.register("synflow")
class SynFlow(Criterion):
    """Synaptic flow of Tanaka et al. 2020, in 100 rounds; see ``synflow_mask``."""

    def mask(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Cut a hundred times."""
        return synflow_mask(subject.model, subject.density, subject.needed_shape(), ignore=subject.ignore)


def criterion_names() -> list[str]:
    """Names of all mask criteria, those of other packages included, sorted."""
    return MASK_CRITERIA.names()


def find_mask(name: str, subject: MaskSubject) -> dict[str, Tensor]:
    """Choose a mask by the criterion called ``name``.

    Raises:
        UnknownName: When there is none; the message lists those there are.
        UserError: When something it needs is missing, or the density does not fit.
    """
    return MASK_CRITERIA.get(name)().mask(subject)


def _chances(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    return {
        name: torch.rand(tuple(shape), dtype=torch.float64, generator=torch_generator(seed, "mask", name))
        for name, shape in shapes.items()
    }


def _weight(weights: Weights, name: str) -> Tensor:
    if name not in weights:
        raise UserError(
            f"no weight {name!r} to prune.", expected=f"names among: {', '.join(weights)}", way_out="correct the names"
        )
    return weights[name].detach()
