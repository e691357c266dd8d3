"""What every stage of a study takes: planned work, and what the manifests of finished stages say it took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ticketdiet.core.errors import TicketDietError
from ticketdiet.reports.completeness import StudyState
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.child import Child
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.stages.score_model import ScoreModel
from ticketdiet.training.batches import shown_examples

COUNTERS = {"package_joules": "workers", "gpu_joules": "gpu_workers"}  # counter -> processes that shared it


@dataclass(frozen=True)
class StageCost:
    """What one stage takes.

    Attributes:
        done: Whether its result is there.
        steps: SGD updates.
        examples: Examples shown in training, with repetition.
        flops: Floating-point operations of the training, all weights counted.
        flops_kept: The same on kept weights; NaN until the mask is known.
        seconds: Wall time of the process that made it; NaN when not done.
        joules: Energy while it was made; NaN where none was read.
        is_estimated: Whether the energy is an equal part of what several processes took together.
    """

    done: bool
    steps: int
    examples: int
    flops: int
    flops_kept: float
    seconds: float
    joules: float
    is_estimated: bool


@dataclass(frozen=True, eq=False)
class ShownExamples:
    """Training examples that a stage reads.

    Attributes:
        fingerprint: Of the training images.
        indices: int64 (m,), sorted.
    """

    fingerprint: str
    indices: np.ndarray


@dataclass(frozen=True)
class Energy:
    """What a result took.

    Attributes:
        joules: Processor and GPU together; NaN when neither was read.
        is_estimated: Whether it is an equal part of what several processes took together.
    """

    joules: float
    is_estimated: bool


class StageCosts:
    """Reads what the stages of a study take, each once.

    Args:
        plan: The stages of the study.
        store: Where their results are; None when there is no store yet.
        state: Which of them can be used.
    """

    def __init__(self, plan: Plan, store: ResultStore | None, state: StudyState) -> None:
        self._plan, self._store, self._state = plan, store, state
        self._costs: dict[str, StageCost] = {}
        self._shown: dict[tuple[Any, ...], np.ndarray] = {}

    def of(self, stage: Stage) -> StageCost:
        """Return what a stage takes."""
        if stage.address not in self._costs:
            self._costs[stage.address] = self._read(stage)
        return self._costs[stage.address]

    def shown(self, stage: Stage) -> ShownExamples | None:
        """Return which training examples a stage reads.

        A score asks its networks about every example, so that it reads all of them however short its trainings are.
        Evaluations and measurements do not count.

        Args:
            stage: A stage of the plan.

        Returns:
            None when it cannot be known: the subset is not chosen yet, or the batches come from another package.
        """
        try:
            indices = self._indices(stage)
        except TicketDietError:  # the subset is missing or damaged
            return None
        return None if indices is None else ShownExamples(stage.data["train"], indices)

    def _read(self, stage: Stage) -> StageCost:
        cost, done = stage.cost, stage.address in self._state.sound
        took: Mapping[str, Any] = self._store.manifest(stage.address).provenance if self._store and done else {}
        kept, seconds, energy = self._flops_kept(stage), _number(took.get("seconds")), energy_of(took)
        return StageCost(done, cost.steps, cost.examples, cost.flops, kept, seconds, energy.joules, energy.is_estimated)

    def _flops_kept(self, stage: Stage) -> float:
        masked: Stage = self._plan.stages[stage.parent] if isinstance(stage, Child) else stage
        if not isinstance(masked, MaskedTraining):
            return stage.cost.flops
        densities = self._facts(masked).get("layer_densities")
        if densities is None:
            return math.nan
        try:
            masked.network.check_source()
            return masked.network.training_flops(stage.cost.examples, densities)
        except TicketDietError:  # a network of the user's whose file is not here
            return math.nan

    def _facts(self, stage: Stage) -> Mapping[str, Any]:
        if self._store is None or stage.address not in self._state.sound:
            return {}
        try:
            facts: Mapping[str, Any] = self._store.document(stage.address, "facts")
        except TicketDietError:
            return {}
        return facts

    def _indices(self, stage: Stage) -> np.ndarray | None:
        if isinstance(stage, ScoreModel) or (isinstance(stage, Score) and stage.score == "barrier"):
            return np.arange(self._count(stage))
        if isinstance(stage, Pretrain):
            return self._known(stage, stage.seeds.order, 0, stage.steps, stage.subset)
        if isinstance(stage, MaskedTraining):
            order, subset = stage.seeds.order, stage.subset_address
            return self._known(stage, order, stage.start_step, stage.recipe.steps, subset)
        if isinstance(stage, Child):
            parent = self._plan.stages[stage.parent]
            assert isinstance(parent, MaskedTraining)
            order = parent.seeds.child(stage.child, stage.vary).order
            return self._known(stage, order, stage.start_step, stage.recipe.steps, parent.subset_address)
        return np.arange(0)

    def _known(
        self, stage: Pretrain | MaskedTraining | Child, order: int, start: int, stop: int, subset: str | None
    ) -> np.ndarray | None:
        """Return the examples by the package's own order; None where the result says that there were others."""
        if start >= stop:
            return np.arange(0)
        size, count = stage.recipe.batch_size, self._count(stage)
        key = (order, start, stop, size, subset, count)
        if key not in self._shown:
            examples = np.arange(count) if subset is None else self._subset(subset)
            if examples is None:
                return None
            self._shown[key] = shown_examples(order, examples, size, start, stop)
        found = self._shown[key]
        recorded = self._facts(stage).get("unique_examples", len(found))
        return found if recorded == len(found) else None

    def _count(self, stage: Stage) -> int:
        return self._plan.facts[stage.dataset].splits["train"].count

    def _subset(self, address: str) -> np.ndarray | None:
        if self._store is None or address not in self._state.sound:
            return None
        indices: np.ndarray = self._store.tensors(address, "subset")["indices"].numpy()
        return indices


def energy_of(provenance: Mapping[str, Any]) -> Energy:
    """Return what a result took.

    The counter of a processor, or of a GPU, counts what all processes take. Where several processes of the run shared
    it, each is given an equal part of what was counted while it worked.

    Args:
        provenance: That of a manifest.
    """
    energy = provenance.get("energy")
    if not isinstance(energy, Mapping):
        return Energy(math.nan, False)
    parts = [(_number(energy[name]), energy.get(workers) or 1) for name, workers in COUNTERS.items() if name in energy]
    joules = sum(counted / count for counted, count in parts) if parts else math.nan
    return Energy(joules, any(count > 1 for _, count in parts))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
