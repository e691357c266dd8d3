"""A level of iterative magnitude pruning: prune the level before, rewind, train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ticketdiet.core.options import make, written_out
from ticketdiet.core.seeds import derive_seed
from ticketdiet.core.values import Mask
from ticketdiet.studies.context import Context
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.spec import Arm
from ticketdiet.studies.stage import INPUT, Use
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.subset import SubsetRequest
from ticketdiet.tickets.masks import dense_mask
from ticketdiet.tickets.pruning import Rule
from ticketdiet.tickets.pruning_criteria import PRUNING_CRITERIA, PruningSubject, prune_by
from ticketdiet.tickets.restarts import RESTARTS, Restart, restart
from ticketdiet.tickets.rewinding import rewind


@dataclass(frozen=True)
class Cut:
    """How a level comes out of the one before.

    Attributes:
        fraction: Fraction of the kept weights that is removed.
        rule: ``"exact"``, or ``"threshold"`` as published.
        criterion: Registered name of what pruning goes by.
        criterion_options: Its options, defaults written out.
        restart: Registered name of what goes back to the rewinding point.
        restart_options: Its options, defaults written out.
    """

    fraction: float
    rule: Rule
    criterion: str
    criterion_options: Mapping[str, Any]
    restart: str
    restart_options: Mapping[str, Any]

    @classmethod
    def of(cls, arm: Arm) -> Cut:
        """Read it from an arm."""
        pruning, ticket = arm.pruning, arm.ticket
        return cls(
            fraction=pruning.fraction,
            rule=pruning.rule,
            criterion=pruning.criterion,
            criterion_options=written_out(PRUNING_CRITERIA, pruning.criterion, pruning.criterion_options),
            restart=ticket.restart,
            restart_options=written_out(RESTARTS, ticket.restart, ticket.restart_options),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Level(MaskedTraining):
    """One level of the mask search; without a search diet of its own it is the sparse training of that density too.

    Attributes:
        level: From 0, which is dense.
        cut: How it comes out of the level before; None for level 0.
        previous: Address of the level before; None for level 0.
        subset: Address of the subset that the search trains on, or None for all images.
    """

    kind = "level"
    version = 3

    level: int
    cut: Cut | None
    previous: str | None = field(metadata=INPUT)
    subset: str | None = field(metadata=INPUT)

    @property
    def subset_address(self) -> str | None:
        """Address of the subset that the search trains on, or None for all images."""
        return self.subset

    def find_mask(self, context: Context) -> Mask:
        """Prune the level before by what its trained network says; level 0 is dense."""
        model = self.initial(context)
        if self.cut is None or self.previous is None:
            return dense_mask(model, self.ignore)
        criterion = make(PRUNING_CRITERIA, self.cut.criterion, self.cut.criterion_options)
        trained, mask = context.weights(self.previous), context.mask(self.previous)
        rewind(model, trained, mask)
        subject = PruningSubject(
            model=model,
            weights=trained,
            point_weights=context.weights(self.point),
            mask=mask,
            images=context.train_images(self, self.label_noise) if criterion.needs_images else None,
            seed=derive_seed(self.seed, "pruning", self.replicate, self.level),
        )
        return prune_by(criterion, subject, self.cut.fraction, self.cut.rule)

    def start(self, context: Context, mask: Mask) -> Restart:
        """Go back to the rewinding point, or to whatever of it the restart says."""
        point = context.weights(self.point)
        if self.cut is None or self.previous is None:
            return restart("weights", point, None, mask, self.recipe, self.start_step)
        policy = make(RESTARTS, self.cut.restart, self.cut.restart_options)
        return restart(policy, point, context.weights(self.previous), mask, self.recipe, self.start_step)

    @classmethod
    def plan(cls, planning: Planning, arm: Arm, replicate: int, count: int) -> list[Level]:
        """Plan the rewinding point of a replicate, and ``count`` levels from it beside the dense one."""
        point = Pretrain.plan(planning, arm, replicate)
        levels: list[Level] = []
        for number in range(count + 1):
            levels.append(cls._plan_one(planning, arm, replicate, number, point, levels[-1] if levels else None))
        return levels

    @classmethod
    def _plan_one(
        cls, planning: Planning, arm: Arm, replicate: int, number: int, point: Pretrain, previous: Level | None
    ) -> Level:
        pruning, ticket, search = arm.pruning, arm.ticket, arm.search
        recipe, subset = arm.search_training, None
        dataset, phase = (None, "training") if search is None else (search.dataset, search.phase)
        if search is not None:
            request = SubsetRequest(arm, "search", search.subset, dataset, recipe.batch_size, phase)
            subset = request.plan(planning, replicate)
        noise = planning.noise(arm.label_noise, phase, replicate) if phase else None
        cut = Cut.of(arm) if previous is not None else None
        through = search is not None or (ticket.is_control and number > 0)
        return planning.keep(
            cls(
                network=point.network,
                seed=point.seed,
                replicate=replicate,
                recipe=recipe,
                start_step=point.steps,
                evaluate_every=planning.study.evaluate_every,
                ignore=tuple(sorted(pruning.ignore)),
                label_noise=noise,
                point=point.address,
                level=number,
                cut=cut,
                previous=previous.address if previous is not None else None,
                subset=subset.address if subset is not None else None,
                data=planning.facts_of(dataset, f"arms.{arm.name}.search.dataset").fingerprints,
                dataset=dataset or planning.study.dataset,
                uses=(Use(arm.name, replicate, number, through=through),),
                cost=point.network.cost(recipe, recipe.steps - point.steps),
                path=arm.label_noise.path if noise is not None else None,
            )
        )
