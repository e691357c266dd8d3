"""A metric of a trained sparse network, measured without training anything again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ticketdiet.core.options import make, written_out
from ticketdiet.core.seeds import derive_seed
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.studies.context import Context
from ticketdiet.studies.network import Network
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.stage import INPUT, ComputedStage, Result, Use
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.tickets.metrics import METRICS, MetricSubject
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.recipe import Precision


@dataclass(frozen=True, eq=False, kw_only=True)
class MetricStage(ComputedStage):
    """A registered metric of one network.

    Attributes:
        network: Which network.
        metric: Registered name of the metric.
        options: Its options, defaults written out.
        precision: Of forward passes.
        sparse_kernels: As in a recipe: the kernels of forward passes.
        seed: Seed of whatever the metric draws.
        step: Step of the network.
        of: Address of the trained network.
        point: Address of its rewinding point.
    """

    kind = "metric"
    version = 2

    network: Network
    metric: str
    options: Mapping[str, Any]
    precision: Precision
    sparse_kernels: SparseKernels
    seed: int
    step: int
    of: str = field(metadata=INPUT)
    point: str = field(metadata=INPUT)

    def compute(self, context: Context) -> Result:
        """Measure the network on every split."""
        model, weights, mask = context.build(self.network, 0), context.weights(self.of), context.mask(self.of)
        rewind(model, weights, mask)
        subject = MetricSubject(
            model=model.eval(),
            weights=weights,
            point_weights=context.weights(self.point),
            mask=mask,
            splits=context.splits(self),
            precision=self.precision,
            sparse_kernels=self.sparse_kernels,
            seed=self.seed,
        )
        found = make(METRICS, self.metric, self.options).measure(subject)
        rows = tuple(
            {"step": self.step, "metric": self.metric, "split": split, "value": float(value)}
            for split, value in found.items()
        )
        return Result({}, rows, {"density": context.store.document(self.of, "facts")["density"]})

    @classmethod
    def plan(cls, planning: Planning, arm: str, number: int, of: MaskedTraining, name: str) -> MetricStage:
        """Plan the metric called ``name`` of the network of ``arm`` at level ``number``."""
        measure = planning.study.measure
        return planning.keep(
            cls(
                network=of.network,
                metric=name,
                options=written_out(METRICS, name, measure.metrics[name]),
                precision=measure.precision or of.recipe.precision,
                sparse_kernels=of.recipe.sparse_kernels,
                seed=derive_seed(of.seed, "metric", name, of.replicate, number),
                step=of.recipe.steps,
                of=of.address,
                point=of.point,
                data=planning.facts.fingerprints,
                dataset=planning.study.dataset,
                uses=(Use(arm, of.replicate, number),),
            )
        )
