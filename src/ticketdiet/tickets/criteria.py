"""Masks of one cut at a chosen density, by name: what iterative magnitude pruning has to beat.

A criterion is a class with one verb, ``scores``; what has the highest scores stays. ``erk`` and ``synflow`` distribute
or repeat the cut and so override ``mask``. What a criterion needs it says in ``needs``.

Another package adds one with ``MASK_CRITERIA.register(name)`` or an entry point in the group
``ticketdiet.mask_criteria``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import BaseOptions, Configurable, make
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import torch_generator
from ticketdiet.core.values import Images, Weights
from ticketdiet.tickets.cutting import erk_counts, mask_from_counts, mask_from_scores
from ticketdiet.tickets.masks import prunable_names
from ticketdiet.tickets.sensitivity import SNIP_IMAGES, SYNFLOW_ROUNDS, snip_scores, synflow_mask

Need = Literal["point_weights", "trained_weights", "images"]
Shapes = Mapping[str, Sequence[int]]

MASK_CRITERIA: Registry[type[Criterion]] = Registry("mask criterion", "mask criteria")


def prunable_shapes(model: nn.Module, ignore: Iterable[str] = ()) -> dict[str, tuple[int, ...]]:
    """Shapes of the prunable tensors of ``model`` by name."""
    weights = dict(model.named_parameters())
    return {name: tuple(weights[name].shape) for name in prunable_names(model, ignore)}


def random_mask(shapes: Shapes, density: float, seed: int = 0) -> dict[str, Tensor]:
    """Keep weights at random, uniformly over the whole network.

    Args:
        shapes: Prunable name -> shape; see ``prunable_shapes``.
        density: Fraction of all weights to keep, in (0, 1].
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
        density: Fraction of all weights to keep, in (0, 1].
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
        density: Fraction of the weights called ``names`` to keep, in (0, 1].
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
        density: Fraction of prunable weights to keep, in (0, 1].
        seed: Seed of whatever the criterion draws.
        images: Labelled images for criteria that look at data, un-augmented.
        input_shape: Shape of one input, for criteria that run the network without data; default that of the images.
        ignore: Names of prunable tensors to leave dense.
    """

    model: nn.Module
    density: float
    seed: int = 0
    images: Images | None = None
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
            raise UserError(
                "The mask criterion needs images, and there are none.",
                expected="labelled training images",
                way_out="give images=",
            )
        return self.images

    def needed_shape(self) -> Sequence[int]:
        """Return the shape of one input.

        Raises:
            UserError: When neither it nor images are given.
        """
        return self.input_shape if self.input_shape is not None else self.needed_images().pixels.shape[1:]


class Criterion(Configurable):
    """A way to choose a mask in one go. Override ``scores``; register the class under a name in ``MASK_CRITERIA``.

    Attributes:
        needs: What it looks at besides the shapes of the network: ``"point_weights"`` when the network is to hold the
            weights at the rewinding point (or at initialisation), ``"trained_weights"`` when it is to hold those of a
            dense training, and ``"images"``.
    """

    kind = "mask criterion"
    needs: ClassVar[frozenset[Need]] = frozenset({"point_weights"})

    def scores(self, subject: MaskSubject) -> Mapping[str, Tensor]:
        """Return prunable name -> finite tensor of the weight's shape; high means keep."""
        raise NotImplementedError

    def mask(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Return name -> uint8 mask of exactly ``round(density * weights)`` ones: one cut over all layers."""
        return mask_from_scores(self.scores(subject), subject.density)


@MASK_CRITERIA.register("magnitude")
class Magnitude(Criterion):
    """One-shot magnitude pruning of trained weights; see ``magnitude_mask``."""

    needs = frozenset({"trained_weights"})

    def scores(self, subject: MaskSubject) -> Mapping[str, Tensor]:
        """Return the magnitudes."""
        weights = dict(subject.model.named_parameters())
        return {name: weights[name].detach().abs() for name in subject.shapes}


@MASK_CRITERIA.register("random")
class Chance(Criterion):
    """Uniform over the whole network; see ``random_mask``."""

    needs = frozenset()

    def scores(self, subject: MaskSubject) -> Mapping[str, Tensor]:
        """Return uniform draws."""
        return _chances(subject.shapes, subject.seed)


@MASK_CRITERIA.register("erk")
class ErdosRenyiKernel(Criterion):
    """Random, with the layer densities of Evci et al. 2020; see ``erk_mask``."""

    needs = frozenset()

    def mask(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Cut every layer to its own count."""
        return erk_mask(subject.shapes, subject.density, subject.seed)


@MASK_CRITERIA.register("snip")
class Snip(Criterion):
    """Connection sensitivity of Lee et al. 2019; see ``snip_scores``."""

    needs = frozenset({"point_weights", "images"})

    class Options(BaseOptions):
        """What the sensitivities are taken on."""

        images: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
            default=SNIP_IMAGES,
            description="Training images, drawn with the seed of the subject; all of them when there are fewer.",
        )

    options: Options

    def scores(self, subject: MaskSubject) -> Mapping[str, Tensor]:
        """Return the sensitivities."""
        count = None if self.options.images == "all" else self.options.images
        return snip_scores(
            subject.model, subject.needed_images(), num_images=count, seed=subject.seed, ignore=subject.ignore
        )


@MASK_CRITERIA.register("synflow")
class SynFlow(Criterion):
    """Synaptic flow of Tanaka et al. 2020, in 100 rounds; see ``synflow_mask``."""

    class Options(BaseOptions):
        """How often it cuts."""

        rounds: int = Field(default=SYNFLOW_ROUNDS, ge=1, description="Cuts; one can empty a layer.")

    options: Options

    def mask(self, subject: MaskSubject) -> dict[str, Tensor]:
        """Cut again and again."""
        shape, rounds = subject.needed_shape(), self.options.rounds
        return synflow_mask(subject.model, subject.density, shape, rounds=rounds, ignore=subject.ignore)


def criterion_names() -> list[str]:
    """Names of all mask criteria, those of other packages included, sorted."""
    return MASK_CRITERIA.names()


def find_mask(name: str, subject: MaskSubject, options: Mapping[str, object] | None = None) -> dict[str, Tensor]:
    """Choose a mask by the criterion called ``name``.

    Args:
        name: Name of the criterion; see ``criterion_names()``.
        subject: What it looks at; its model holds the weights that ``needs`` of the criterion names.
        options: Options of the criterion, for example ``{"images": 100}`` for ``snip``.

    Returns:
        Name -> uint8 mask of exactly ``round(density * weights)`` ones.

    Raises:
        UnknownName: When there is none; the message lists those there are.
        UserError: When something it needs is missing, an option is not one of its own, or the density does not fit.
    """
    criterion = make(MASK_CRITERIA, name, options)
    if "images" in criterion.needs:
        subject.needed_images()
    return criterion.mask(subject)


def _chances(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    return {
        name: torch.rand(tuple(shape), dtype=torch.float64, generator=torch_generator(seed, "mask", name))
        for name, shape in shapes.items()
    }


def _weight(weights: Weights, name: str) -> Tensor:
    if name not in weights:
        raise UserError(
            f"There is no weight {name!r} to prune.",
            expected=f"names among: {', '.join(weights)}",
            way_out="correct the names",
        )
    return weights[name].detach()
