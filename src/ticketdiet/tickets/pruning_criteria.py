"""What iterative pruning goes by: which of the kept weights go first, level by level.

A criterion is a class with one verb, ``scores``, which sees the trained network, its weights at the rewinding point,
the mask so far and images. It may override ``cut`` as well, which says how the cut is distributed over the layers.

Another package adds one with ``PRUNING_CRITERIA.register(name)`` or an entry point in the group
``ticketdiet.pruning_criteria``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import BaseOptions, Configurable, make
from ticketdiet.core.registry import Registry
from ticketdiet.core.seeds import torch_generator
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.tickets.masks import check_mask, prunable_names
from ticketdiet.tickets.pruning import Rule, check_pruning, global_cut, layerwise_cut
from ticketdiet.tickets.sensitivity import snip_scores
from ticketdiet.tickets.structure import beyond_n_of_m

GRADIENT_IMAGES = 1024

PRUNING_CRITERIA: Registry[type[PruningCriterion]] = Registry("pruning criterion", "pruning criteria")


@dataclass(frozen=True, eq=False)
class PruningSubject:
    """What a criterion looks at.

    Attributes:
        model: The network, holding the trained weights; it is left as it is.
        weights: The trained ``state_dict`` under ``mask``.
        point_weights: The ``state_dict`` at the rewinding point, removed weights included.
        mask: Name -> tensor of 0 and 1: what is kept so far, and what is prunable at all.
        images: Training images, for criteria that need them.
        seed: Seed of whatever the criterion draws.
    """

    model: nn.Module
    weights: Weights
    point_weights: Weights
    mask: Mask
    images: Images | None = None
    seed: int = 0

    @property
    def ignore(self) -> tuple[str, ...]:
        """Names of prunable tensors that the mask leaves dense."""
        return tuple(name for name in prunable_names(self.model) if name not in self.mask)

    def needed_images(self) -> Images:
        """Return the images.

        Raises:
            UserError: When there are none.
        """
        if self.images is None:
            raise UserError(
                "The pruning criterion needs images, and there are none.",
                expected="labelled training images",
                way_out="give images=",
            )
        return self.images


class PruningCriterion(Configurable):
    """What pruning goes by. Override ``scores``; register the class under a name in ``PRUNING_CRITERIA``.

    Attributes:
        needs_images: Whether it looks at images.
    """

    kind = "pruning criterion"
    needs_images: ClassVar[bool] = False

    def scores(self, subject: PruningSubject) -> Mapping[str, Tensor]:
        """Return name of every masked tensor -> scores of its shape, finite where weights are kept; high means keep."""
        raise NotImplementedError

    def cut(self, scores: Mapping[str, Tensor], mask: Mask, fraction: float, rule: Rule) -> dict[str, Tensor]:
        """Return the new mask from scores: one cut over all layers, unless a criterion distributes it otherwise."""
        return global_cut(scores, mask, fraction, rule)


@PRUNING_CRITERIA.register("magnitude")
class Magnitude(PruningCriterion):
    """Removes the smallest trained weights over the whole network, as in the paper; see ``prune``."""

    def scores(self, subject: PruningSubject) -> Mapping[str, Tensor]:
        """Return the magnitudes."""
        return {name: subject.weights[name].detach().cpu().abs() for name in subject.mask}


@PRUNING_CRITERIA.register("layerwise_magnitude")
class LayerwiseMagnitude(Magnitude):
    """Removes the smallest trained weights, the same fraction of each layer (Han et al. 2015, arXiv 1506.02626)."""

    def cut(self, scores: Mapping[str, Tensor], mask: Mask, fraction: float, rule: Rule) -> dict[str, Tensor]:
        """Cut every layer by itself."""
        return layerwise_cut(scores, mask, fraction, rule)


@PRUNING_CRITERIA.register("movement")
class Movement(PruningCriterion):
    """Removes weights whose magnitude grew least since the rewinding point: ``|w_trained| - |w_point|``.

    The criterion ``magnitude_increase`` of Zhou et al. 2019 (arXiv 1905.01067).
    """

    def scores(self, subject: PruningSubject) -> Mapping[str, Tensor]:
        """Return how much the magnitudes grew."""
        trained, point = subject.weights, subject.point_weights
        return {name: trained[name].detach().cpu().abs() - point[name].detach().cpu().abs() for name in subject.mask}


@PRUNING_CRITERIA.register("gradient")
class Gradient(PruningCriterion):
    """Removes weights that matter least to the loss, to first order: ``|w * dL/dw|`` of the trained network.

    Molchanov et al. 2019 (arXiv 1906.10771), whose squares rank alike. L is the mean cross-entropy over images drawn
    with the seed, with BatchNorm in train mode; see ``snip_scores``.
    """

    needs_images = True

    class Options(BaseOptions):
        """What the gradient is taken on."""

        images: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
            default=GRADIENT_IMAGES,
            description="Training images, drawn for each level; all of them when there are fewer.",
        )

    options: Options

    def scores(self, subject: PruningSubject) -> Mapping[str, Tensor]:
        """Return the first-order changes of the loss."""
        count = None if self.options.images == "all" else self.options.images
        images = subject.needed_images()
        return snip_scores(subject.model, images, num_images=count, seed=subject.seed, ignore=subject.ignore)


@PRUNING_CRITERIA.register("n_of_m")
class Structured(Magnitude):
    """Removes first what is beyond the N largest of M consecutive weights, then the smallest weights (2:4 by default).

    Every pruning removes its fraction, as with any criterion, in one cut over the whole network. Weights beyond N in
    their group go before all others, the smallest first. From the level on whose density the structure allows, every
    group keeps at most N of M, and further prunings keep it so. See ``ticketdiet.tickets.structure`` for what a group
    is.
    """

    class Options(BaseOptions):
        """The structure."""

        n: int = Field(default=2, ge=1, description="The most weights that a group keeps.")
        m: int = Field(default=4, ge=2, le=1024, description="Consecutive inputs of a group; more than n.")

        @field_validator("m")
        @classmethod
        def _is_more_than_n(cls, m: int, info: ValidationInfo) -> int:
            if m <= info.data.get("n", 0):
                raise ValueError(f"a number above n, which is {info.data['n']}")
            return m

    options: Options

    def scores(self, subject: PruningSubject) -> Mapping[str, Tensor]:
        """Return ranks of magnitudes, equal ones for equal magnitudes; those of the surplus are below all others."""
        magnitudes = super().scores(subject)
        distinct, ranks = torch.unique(torch.cat([one.flatten() for one in magnitudes.values()]), return_inverse=True)
        found, start = {}, 0
        for name, kept in subject.mask.items():
            rank = ranks[start : start + kept.numel()].reshape(kept.shape).double()
            rank[~magnitudes[name].isfinite()] = torch.nan  # so that the cut refuses them
            surplus = beyond_n_of_m(magnitudes[name], kept.cpu(), self.options.n, self.options.m)
            found[name], start = torch.where(surplus, rank - len(distinct), rank), start + kept.numel()
        return found


@PRUNING_CRITERIA.register("random")
class Chance(PruningCriterion):
    """Removes weights at random, uniformly over the network, as a baseline for every criterion."""

    def scores(self, subject: PruningSubject) -> Mapping[str, Tensor]:
        """Return uniform draws, a function of the seed and the name of each layer."""
        return {
            name: torch.rand(kept.shape, dtype=torch.float64, generator=torch_generator(subject.seed, "pruning", name))
            for name, kept in subject.mask.items()
        }


def prune_by(
    criterion: str | PruningCriterion, subject: PruningSubject, fraction: float = 0.2, rule: Rule = "exact"
) -> dict[str, Tensor]:
    """Remove ``fraction`` of the kept weights, those that ``criterion`` scores lowest.

    Args:
        criterion: A registered name, or a criterion with options: ``Gradient({"images": 256})``.
        subject: What it looks at.
        fraction: Fraction of the kept weights to remove, in (0, 1).
        rule: ``"exact"``, or ``"threshold"`` for the published rule.

    Returns:
        The new mask: nested in the old one, same names, shapes and dtypes.

    Raises:
        UnknownName: For another criterion or rule.
        UserError: For a fraction outside (0, 1), a mask that does not fit, images that are missing, or scores that
            have other shapes than the weights or are not finite.
    """
    check_pruning(fraction, rule)
    check_mask(subject.weights, subject.mask)
    criterion = find_criterion(criterion)
    if criterion.needs_images:
        subject.needed_images()
    scores = criterion.scores(subject)
    for name, kept in subject.mask.items():
        came = tuple(scores[name].shape) if name in scores else "nothing"
        if came != tuple(kept.shape):
            raise UserError(
                f"The pruning criterion {type(criterion).__name__} gave {came} as the scores of {name!r}.",
                expected=f"a tensor of the shape of the weight, {tuple(kept.shape)}",
                way_out="return one score per weight, for every name of subject.mask",
            )
    return criterion.cut(scores, subject.mask, fraction, rule)


def find_criterion(criterion: str | PruningCriterion) -> PruningCriterion:
    """Return the pruning criterion of that name without options, or the criterion itself.

    Raises:
        UnknownName: When there is none; the message lists those there are.
    """
    return make(PRUNING_CRITERIA, criterion) if isinstance(criterion, str) else criterion
