"""A sparse training that is no level of the mask search: a control of the ticket, or a ticket of a cheaper search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ticketdiet.core.options import written_out
from ticketdiet.core.seeds import derive_seed
from ticketdiet.core.values import Mask
from ticketdiet.studies.context import Context
from ticketdiet.studies.network import Network
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.schema import PruningSpec
from ticketdiet.studies.spec import Arm
from ticketdiet.studies.stage import INPUT, Use
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.tickets.controls import INITIAL_WEIGHTS, Ticket, find_weights, shuffled_mask
from ticketdiet.tickets.criteria import MASK_CRITERIA, MaskSubject, find_mask
from ticketdiet.tickets.restarts import Restart
from ticketdiet.tickets.rewinding import rewind


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseTraining(MaskedTraining):
    """A sparse training on all images, under a mask and from weights of its own choice.

    Attributes:
        mask: ``"imp"``, ``"shuffled"``, or the registered name of a criterion.
        mask_options: Options of the criterion, defaults written out; empty for a mask of the search.
        weights: Registered name of the weights to start from.
        weights_options: Their options, defaults written out.
        kept: Weights that a criterion keeps; None where the search decides.
        control_seed: Seed of what is drawn; None for the ticket itself, for which nothing is.
        level: Address of the level whose mask, or whose trained weights, are used; or None.
    """

    kind = "sparse_training"
    version = 2

    mask: str
    mask_options: Mapping[str, Any]
    weights: str
    weights_options: Mapping[str, Any]
    kept: int | None
    control_seed: int | None
    level: str | None = field(metadata=INPUT)

    def find_mask(self, context: Context) -> Mask:
        """Take the mask of the search, shuffle it, or let a criterion choose one of as many weights."""
        if self.level is not None and self.mask in ("imp", "shuffled"):
            found = context.mask(self.level)
            return found if self.mask == "imp" else shuffled_mask(found, self._seed)
        model = self.initial(context)
        judged = self.point if self.level is None else self.level
        rewind(model, context.weights(judged))
        assert self.kept is not None
        subject = MaskSubject(
            model,
            self.kept / self.network.count_prunable(self.ignore),
            seed=self._seed,
            images=context.train_images(self, self.label_noise),
            ignore=self.ignore,
        )
        return find_mask(self.mask, subject, self.mask_options)

    def start(self, context: Context, mask: Mask) -> Restart:
        """Start from the rewinding point, or from other weights: a new initialisation, the signs of the point."""
        ticket = Ticket(
            point_weights=context.weights(self.point),
            mask=mask,
            make_model=lambda seed: context.build(self.network, seed),
            initial_seed=self.seeds.initialisation,
            seed=self.control_seed or 0,
        )
        return Restart(find_weights(self.weights, ticket, self.weights_options), self.start_step, self.recipe)

    @property
    def _seed(self) -> int:
        assert self.control_seed is not None
        return self.control_seed

    @classmethod
    def plan(cls, planning: Planning, arm: Arm, replicate: int, number: int, levels: list[Level]) -> SparseTraining:
        """Plan the sparse training at the density of level ``number``."""
        ticket, dense, study = arm.ticket, levels[0], planning.study
        searched = ticket.needs_search
        uses_level = searched or "trained_weights" in MASK_CRITERIA.get(ticket.mask).needs
        noise = planning.noise(arm.label_noise, "training", replicate)
        recipe = arm.training
        return planning.keep(
            cls(
                network=dense.network,
                seed=dense.seed,
                replicate=replicate,
                recipe=recipe,
                start_step=dense.start_step,
                evaluate_every=study.evaluate_every,
                ignore=dense.ignore,
                label_noise=noise,
                point=dense.point,
                mask=ticket.mask,
                mask_options={} if searched else written_out(MASK_CRITERIA, ticket.mask, ticket.mask_options),
                weights=ticket.weights,
                weights_options=written_out(INITIAL_WEIGHTS, ticket.weights, ticket.weights_options),
                kept=None if searched else kept_weights(dense.network, arm.pruning, number),
                control_seed=derive_seed(study.seed, "control", replicate, number) if ticket.is_control else None,
                level=levels[number if searched else 0].address if uses_level else None,
                data=planning.facts.fingerprints,
                dataset=study.dataset,
                uses=(Use(arm.name, replicate, number),),
                cost=dense.network.cost(recipe, recipe.steps - dense.start_step),
                path=arm.label_noise.path if noise is not None else None,
            )
        )


def kept_weights(network: Network, pruning: PruningSpec, level: int) -> int:
    """Weights that exact pruning keeps at a level: what a mask without a search keeps too."""
    kept = network.count_prunable(pruning.ignore)
    for _ in range(level):
        kept -= math.ceil(pruning.fraction * kept)
    return kept
