"""Barriers on the lines between networks: all pairs of a family, or two successive levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ticketdiet.kernels.line import SparseKernels
from ticketdiet.landscape.barrier import PairBarrier, connected_fraction
from ticketdiet.landscape.family import PARENT, Family
from ticketdiet.landscape.measurement import measure_pairs
from ticketdiet.studies.context import Context
from ticketdiet.studies.network import Network
from ticketdiet.studies.planning import Planning
from ticketdiet.studies.stage import INPUTS_BY_ROLE, ComputedStage, Result, Row, Use
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.training.modes import BatchNormPolicy
from ticketdiet.training.recipe import Precision


@dataclass(frozen=True, eq=False, kw_only=True)
class BarrierStage(ComputedStage):
    """The barriers of all pairs among some networks of one shape.

    Attributes:
        network: Which network.
        alphas: Points on every line.
        batch_norm: BatchNorm policy.
        tolerance: In nats: up to which barrier an example counts as connected.
        precision: Of the forward passes.
        sparse_kernels: As in a recipe: the kernels of the forward passes.
        family: Whether the networks are a parent and its children, so that their mean is the paper's barrier.
        step: Step of the networks.
        networks: Role -> address: ``parent``, ``child1`` and so on, or ``level00`` and the next.
    """

    kind = "barrier"
    version = 4

    network: Network
    alphas: tuple[float, ...]
    batch_norm: BatchNormPolicy
    tolerance: float
    precision: Precision
    sparse_kernels: SparseKernels
    family: bool
    step: int
    networks: Mapping[str, str] = field(metadata=INPUTS_BY_ROLE)

    def compute(self, context: Context) -> Result:
        """Measure all pairs on every split, un-augmented; BatchNorm is recalibrated on training images."""
        weights = {role: context.weights(address) for role, address in self.networks.items()}
        masks = {} if self.family else {role: context.mask(address) for role, address in self.networks.items()}
        rows: list[Row] = []
        arrays: dict[str, Tensor] = {}
        model, calibration = context.build(self.network, 0), context.images(self).train
        for split, images in context.splits(self).items():
            pairs = measure_pairs(
                model,
                weights,
                images,
                self.alphas,
                self.batch_norm,
                masks=masks or None,
                calibration=calibration,
                precision=self.precision,
                sparse_kernels=self.sparse_kernels,
            )
            family = Family(tuple(pairs), self.batch_norm)
            arrays |= _arrays(family, split)
            rows.extend(self._rows(family, split))
        last = self.networks[PARENT] if self.family else list(self.networks.values())[-1]
        facts = {
            "pairs": [pair.name for pair in family.pairs],
            "alphas": list(family.alphas),
            "density": context.store.document(last, "facts")["density"],
        }
        return Result({"barrier": arrays}, tuple(rows), facts)

    def _rows(self, found: Family, split: str) -> Iterator[Row]:
        named: dict[str, PairBarrier | Family] = {pair.name: pair for pair in found.pairs}
        named |= {"family": found} if self.family else {}
        for name, one in named.items():
            values = {
                "barrier_mean": one.mean,
                "barrier_max": one.max,
                "error_barrier": one.error_barrier,
                "connected_fraction": connected_fraction(one.per_example, self.tolerance),
            }
            for metric, value in values.items():
                of = {"step": self.step, "metric": metric, "split": split, "value": value}
                yield {**of, "pair": name, "tolerance": self.tolerance}

    @classmethod
    def plan_family(cls, planning: Planning, arm: str, number: int, parent: MaskedTraining) -> BarrierStage:
        """Plan the children of the network of ``arm`` at level ``number``, and the barriers among all of them."""
        networks = {PARENT: parent.address}
        for index in range(1, planning.study.children + 1):
            networks[f"child{index}"] = Child.plan(planning, arm, number, parent, index).address
        return cls._plan(planning, arm, number, parent, networks, family=True)

    @classmethod
    def plan_successive(
        cls, planning: Planning, arm: str, number: int, denser: MaskedTraining, sparser: MaskedTraining
    ) -> BarrierStage:
        """Plan the barrier between the networks of two successive levels, the sparser of which is ``number``."""
        networks = {f"level{number - 1:02d}": denser.address, f"level{number:02d}": sparser.address}
        return cls._plan(planning, arm, number, sparser, networks, family=False)

    @classmethod
    def _plan(
        cls,
        planning: Planning,
        arm: str,
        number: int,
        of: MaskedTraining,
        networks: Mapping[str, str],
        *,
        family: bool,
    ) -> BarrierStage:
        measure = planning.study.measure
        return planning.keep(
            cls(
                network=of.network,
                alphas=measure.alphas,
                batch_norm=measure.batch_norm,
                tolerance=measure.tolerance,
                precision=measure.precision or of.recipe.precision,
                sparse_kernels=of.recipe.sparse_kernels,
                family=family,
                step=of.recipe.steps,
                networks=networks,
                data=planning.facts.fingerprints,
                dataset=planning.study.dataset,
                uses=(Use(arm, of.replicate, number),),
            )
        )


def _arrays(family: Family, split: str) -> dict[str, Tensor]:
    """What figures need of every pair: barriers by example, mean loss and error along the line."""
    arrays = {"alphas": torch.tensor(family.alphas, dtype=torch.float64), f"{split}/family": family.per_example}
    for pair in family.pairs:
        name = f"{split}/{pair.name}"
        arrays |= {f"{name}/per_example": pair.per_example.float(), f"{name}/loss": pair.loss}
        arrays[f"{name}/error"] = pair.error
    return arrays
