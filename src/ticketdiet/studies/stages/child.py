"""A child: one more training from where a network started, with SGD noise of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.studies.context import Context, rows_of, training_facts
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.stage import INPUT, Result, Training, TrainingStage, Use
from ticketdiet.studies.stages.level import Level
from ticketdiet.studies.stages.masked import MaskedTraining, evaluations
from ticketdiet.studies.stages.sparse_training import SparseTraining
from ticketdiet.tickets.masks import density
from ticketdiet.training.loop import Trained

PARENTS: tuple[type[MaskedTraining], ...] = (Level, SparseTraining)


@dataclass(frozen=True, eq=False, kw_only=True)
class Child(TrainingStage):
    """A training that differs from its parent's in data order, in augmentation, or in both.

    Attributes:
        seed: Seed of the study.
        replicate: From 0.
        start_step: Step at which both start.
        label_noise: Label noise that both see.
        child: From 1.
        vary: What differs: ``"augmentation"``, ``"order"``, sorted.
        parent: Address of the parent, whose mask and starting weights the child shares.
        point: Address of the rewinding point.
    """

    kind = "child"
    version = 3

    seed: int
    replicate: int
    start_step: int
    label_noise: SeenNoise | None
    child: int
    vary: tuple[str, ...]
    parent: str = field(metadata=INPUT)
    point: str = field(metadata=INPUT)

    def prepare(self, context: Context) -> Training:
        """Take the parent's mask and the weights it started from."""
        manifest = context.store.manifest(self.parent)
        kind = next(parent for parent in PARENTS if parent.kind == manifest.kind)
        parent = replace(kind.of_manifest(manifest, self.dataset), path=self.path)
        mask = context.mask(self.parent)
        start = parent.start(context, mask)
        splits = context.splits(self)
        observers = evaluations(splits, {}, start.recipe, self.start_step, 0)
        seeds = RunSeeds.of(self.seed, self.replicate).child(self.child, self.vary)
        return parent.training(context, mask, start, seeds, observers)

    def finish(self, context: Context, training: Training, trained: Trained) -> Result:
        """Keep the weights."""
        assert training.mask is not None
        facts = {"density": density(training.mask), **training_facts(trained)}
        rows = tuple({**row, "pair": f"child{self.child}"} for row in rows_of(trained))
        return Result({"weights": trained.weights}, rows, facts)

    @classmethod
    def plan(cls, planning: Planning, arm: str, number: int, parent: MaskedTraining, index: int) -> Child:
        """Plan child ``index`` of ``parent``, which is the network of ``arm`` at level ``number``."""
        return planning.keep(
            cls(
                network=parent.network,
                seed=parent.seed,
                replicate=parent.replicate,
                recipe=parent.recipe,
                start_step=parent.start_step,
                label_noise=parent.label_noise,
                child=index,
                vary=planning.study.vary,
                parent=parent.address,
                point=parent.point,
                data=parent.data,
                dataset=parent.dataset,
                uses=(Use(arm, parent.replicate, number),),
                cost=parent.cost,
                path=parent.path,
            )
        )
