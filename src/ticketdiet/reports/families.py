"""The dense families of a study, read from the store: barriers among a rewinding point's own run and its children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.family import PARENT
from ticketdiet.reports.completeness import Results
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.masked import MaskedTraining


@dataclass(frozen=True, eq=False)
class FamilyResult:
    """Barriers of one dense family, for one arm that uses it.

    Attributes:
        arm: Name of the arm.
        replicate: From 0.
        pretrain_steps: k of its rewinding point.
        arrays: Name to tensor, as the barrier stage keeps them.
        pairs: Names of its pairs.
        address: Of the result.
    """

    arm: str
    replicate: int
    pretrain_steps: int
    arrays: Mapping[str, Tensor]
    pairs: tuple[str, ...]
    address: str

    def stack(self, split: str, what: str) -> np.ndarray:
        """Return (pairs, ...) of ``per_example``, ``loss`` or ``error``."""
        return np.stack([self.arrays[f"{split}/{pair}/{what}"].numpy() for pair in self.pairs])

    def per_example(self, split: str) -> np.ndarray:
        """Return the mean barrier of each example over the pairs, float64 (n,), nats."""
        barriers: np.ndarray = self.arrays[f"{split}/family"].double().numpy()
        return barriers


def read_families(plan: Plan, store: Results) -> list[FamilyResult]:
    """Read the finished families of children at level 0, once for each arm and replicate that uses them."""
    return [family for stage in plan.stages.values() for family in _families_of(stage, plan, store)]


def find_family(plan: Plan, store: Results, arm: str, replicate: int) -> FamilyResult:
    """Return the finished dense family of one arm and replicate.

    Raises:
        UserError: When the study has no children, or the barriers are not measured yet.
    """
    for family in read_families(plan, store):
        if (family.arm, family.replicate) == (arm, replicate):
            return family
    raise UserError(
        f"The store {store.url} has no barriers of arm {arm!r}, replicate {replicate}.",
        expected="a study with children that was run",
        way_out=f"give children: 2 in {plan.study.study}, and run it",
    )


def _families_of(stage: Stage, plan: Plan, store: Results) -> list[FamilyResult]:
    uses = [use for use in stage.uses if use.level == 0]
    if not isinstance(stage, BarrierStage) or not stage.family or not uses or not store.has(stage.address):
        return []
    arrays = store.tensors(stage.address, "barrier")
    pairs = tuple(store.document(stage.address, "facts")["pairs"])
    parent = plan.stages[stage.networks[PARENT]]
    assert isinstance(parent, MaskedTraining)
    steps = parent.start_step
    return [FamilyResult(use.arm, use.replicate, steps, arrays, pairs, stage.address) for use in uses]


def pretrained_on(plan: Plan, arm: str) -> str:
    """What an arm was pre-trained on, so that arms that differ in steps only make one line."""
    pretrain = plan.study.arms[arm].pretrain
    if pretrain.steps == 0 and pretrain.passes is None:
        return "no pre-training"
    if pretrain.subset.is_everything:
        return "all"
    return f"{pretrain.subset.kind} {_size(pretrain.subset.size, pretrain.subset.fraction)}".strip()


def _size(size: int | None, fraction: float | None) -> str:
    if size is not None:
        return str(size)
    return "" if fraction is None else f"{fraction:.0%}"
