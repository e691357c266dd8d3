"""Finds the smallest rewinding point of an arm whose dense children are connected, through plans like any other.

Each probed step is a study of one arm with that many pre-training steps, no pruning and a family of children: its
stages are kept by address, shared with the study's own arms and with earlier searches, and resumed like all stages.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.landscape.rewind_search import ConnectedWhen, Evidence, RewindAnswer, bisect_connected
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.devices import choose_devices
from ticketdiet.studies.executors.base import ExecutorKind
from ticketdiet.studies.machine import cpu_count, threads_asked
from ticketdiet.studies.network import Cost
from ticketdiet.studies.plan import Plan, plan_study
from ticketdiet.studies.record import known_facts, recorded_plan
from ticketdiet.studies.run import RunObserver, run_plan
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.barrier import BarrierStage
from ticketdiet.studies.stages.masked import MaskedTraining
from ticketdiet.studies.stages.pretrain import Pretrain

CHILDREN = 2
_SERIES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # candidates a decade, each about 1.5 times the one before


@dataclass(frozen=True)
class FoundPoint:
    """What a search for the rewinding point found, and what it took.

    Attributes:
        arm: Arm whose pre-training was varied.
        rule: When children count as connected.
        answer: The step and its evidence.
        addresses: Rewinding points of the probed steps: address of the first replicate's weights by step.
        replicates: Replicates that every verdict is the mean of.
        children: Children of each rewinding point, beside the parent's own run.
        cost: Training behind the evidence, whether done now or before.
        seconds: Seconds those stages took when they were worked, summed over processes.
        made: Stages made now; 0 when everything was there.
        sweep: Training of a full IMP sweep: every candidate with all levels of the arm.
    """

    arm: str
    rule: ConnectedWhen
    answer: RewindAnswer
    addresses: Mapping[int, str]
    replicates: int
    children: int
    cost: Cost
    seconds: float
    made: int
    sweep: Cost

    @property
    def k(self) -> int | None:
        """Smallest step found connected, None when no candidate is."""
        return self.answer.k

    @property
    def sweep_over_search(self) -> float:
        """How many times as many training steps the full sweep takes."""
        return self.sweep.steps / self.cost.steps if self.cost.steps else float("nan")


def find_rewinding_point(
    study: StudySpec,
    store: ResultStore,
    *,
    arm: str | None = None,
    rule: ConnectedWhen | None = None,
    candidates: Sequence[int] | None = None,
    max_k: int | None = None,
    replicates: int = 1,
    workers: int | None = None,
    devices: Sequence[str] = ("cpu",),
    threads: int | None = None,
    executor: ExecutorKind | str | None = None,
    observer: RunObserver | None = None,
) -> FoundPoint:
    """Find the smallest pre-training step from which dense children are linearly connected, by bisection.

    Bisection takes it that children stay connected for every later step; see
    :func:`~ticketdiet.landscape.rewind_search.bisect_connected`.

    Args:
        study: Gives data, model, recipe, the arm's pre-training subset, and how families are measured.
        store: Where trainings are looked for and kept; a second call with the same arguments makes nothing new.
        arm: Arm whose pre-training steps are varied; default the first that pre-trains.
        rule: When children count as connected; default a mean train barrier of at most the study's tolerance.
        candidates: Steps to choose from; default :func:`default_candidates`.
        max_k: Largest step to consider; default half of training.
        replicates: Replicates to average over, from the first.
        workers: Processes; default one a core, or fewer of several threads, up to the trainings of one family.
        devices: Names of torch devices, given to the workers in turn; ``"all"`` is every GPU.
        threads: Threads of each worker; default ``OMP_NUM_THREADS``, or else its fraction of the cores.
        executor: Where the work is done instead of in processes on this machine; see :func:`run_plan`.
        observer: Is told how each probe goes.

    Returns:
        The answer, its evidence, and its cost beside that of a full IMP sweep.

    Raises:
        UnknownName: When the study has no such arm.
        UserError: For candidates that are not below the arm's training steps, or no replicate.
    """
    chosen = choose_arm(study, arm)
    rule = rule or ConnectedWhen(study.measure.tolerance, tolerance=study.measure.tolerance)
    steps = study.arm(chosen).most_pretraining_steps
    ks = _checked(default_candidates(steps, max_k) if candidates is None else candidates, steps, max_k)
    probing = _Probing(study, store, chosen, rule, replicates)
    if executor is None:
        workers = workers or (_default_workers(probing, choose_devices(devices), threads) if store.shared else 1)
    made = 0

    # Between its plans, too, a search needs what it has found so far.
    with store.drive() as driver:

        def probe(k: int) -> Evidence:
            nonlocal made
            plan = probing.plan(k)
            driver.reach(plan.stages)
            made += run_plan(
                plan,
                store,
                of=study,
                executor=executor,
                workers=workers,
                devices=devices,
                threads=threads,
                observer=observer,
            ).made
            return probing.judge(k, plan)

        return probing.account(bisect_connected(ks, probe), made)


def choose_arm(study: StudySpec, arm: str | None = None) -> str:
    """Return ``arm``, or the first arm that pre-trains (the first of all when none does).

    Raises:
        UnknownName: When the study has no such arm.
    """
    if arm is None:
        return next((name for name, spec in study.arms.items() if spec.pretrain.steps), next(iter(study.arms)))
    check_known("arm", arm, study.arms)
    return arm


def default_candidates(steps: int, max_k: int | None = None) -> tuple[int, ...]:
    """Return steps to choose from: 0, then each about 1.5 times the one before, up to ``max_k``.

    Args:
        steps: Steps of the whole training.
        max_k: Largest candidate; default half of ``steps``.

    Example:
        >>> default_candidates(300)
        (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150)
    """
    highest = steps // 2 if max_k is None else max_k
    series = (int(10**decade * factor) for decade in itertools.count() for factor in _SERIES)
    return (0, *sorted(set(itertools.takewhile(lambda k: k <= highest, series))))


def _checked(ks: Sequence[int], steps: int, max_k: int | None) -> list[int]:
    kept = [k for k in ks if max_k is None or k <= max_k]
    if not kept or not all(0 <= k < steps for k in kept) or len(set(kept)) < len(kept):
        limit = "" if max_k is None else f" up to {max_k}"
        raise UserError(
            f"Got the candidates {list(ks)}{limit} for a training of {steps} steps.",
            expected=f"at least one step in [0, {steps - 1}], each once",
            way_out="--candidates 0,10,20,50,100, or a larger --max-k",
        )
    return kept


class _Probing:
    """Makes the plan of each probe, and reads what it measured."""

    def __init__(self, study: StudySpec, store: ResultStore, arm: str, rule: ConnectedWhen, replicates: int) -> None:
        if replicates < 1:
            raise UserError(
                f"Got replicates={replicates}.", expected="at least 1", way_out="for example --replicates 1"
            )
        self._study, self._store, self._arm, self._rule = study, store, arm, rule
        self.replicates, self.children = replicates, study.children or CHILDREN
        self._facts = known_facts(study, store)
        recorded = recorded_plan(store, study)
        self._labels = {} if recorded is None else {known: recorded.labels[known] for known in self._facts}
        self._plans: dict[int, Plan] = {}

    def plan(self, k: int) -> Plan:
        """The families of rewinding point ``k``, and what they stand on."""
        if k not in self._plans:
            self._plans[k] = self._planned(k, BarrierStage, levels=0)
        return self._plans[k]

    def point(self, k: int) -> Stage:
        """The first replicate's rewinding point."""
        return next(stage for stage in self.plan(k).stages.values() if self._is_own(stage, Pretrain, k, replicates=1))

    def judge(self, k: int, plan: Plan) -> Evidence:
        """Read the barriers of a finished probe."""
        families = [stage for stage in plan.stages.values() if self._is_own(stage, BarrierStage, k)]
        barriers = torch.stack([self._store.tensors(s.address, "barrier")["train/family"] for s in families])
        return self._rule.judge(k, barriers.double())

    def sweep(self, ks: Sequence[int]) -> Cost:
        """What all levels from every step would take to train; work that several share counts once."""
        levels = self._study.arm(self._arm).pruning.levels
        stages = {a: s for k in ks for a, s in self._planned(k, MaskedTraining, levels).stages.items()}
        return sum((stage.cost for stage in stages.values()), Cost())

    def account(self, answer: RewindAnswer, made: int) -> FoundPoint:
        """The answer, beside what its evidence took and what a full sweep would."""
        probed = [evidence.k for evidence in answer.evidence]
        stages = {address: stage for k in probed for address, stage in self.plan(k).stages.items()}
        seconds = [self._store.manifest(address).provenance.get("seconds") for address in stages]
        return FoundPoint(
            arm=self._arm,
            rule=self._rule,
            answer=answer,
            addresses={k: self.point(k).address for k in probed},
            replicates=self.replicates,
            children=self.children,
            cost=sum((stage.cost for stage in stages.values()), Cost()),
            seconds=sum(float(number) for number in seconds if isinstance(number, int | float)),
            made=made,
            sweep=self.sweep(answer.candidates),
        )

    def _planned(self, k: int, kind: type[BarrierStage | MaskedTraining], levels: int) -> Plan:
        plan = plan_study(self._varied(k, levels), self._facts)
        own = [stage.address for stage in plan.stages.values() if self._is_own(stage, kind, k)]
        return replace(plan, stages=plan.reached_from(own), labels=self._labels)

    def _varied(self, k: int, levels: int) -> StudySpec:
        """The study with the arm at ``k`` first; the others stay, for a score or a subset may need one of them."""
        arm, measure = self._study.arms[self._arm], self._study.measure
        bare = {
            name: other.model_copy(update={"pruning": other.pruning | {"levels": 0}})
            for name, other in self._study.arms.items()
        }
        probe = arm.model_copy(
            update={
                "pretrain": arm.pretrain.model_copy(update={"steps": k, "passes": None}),
                "pruning": arm.pruning | {"levels": levels},
            }
        )
        return self._study.model_copy(
            update={
                "arms": {_probe_name(k): probe, **bare},
                "replicates": max(self.replicates, self._study.replicates),
                "children": self.children,
                "measure": measure.model_copy(update={"levels": (0,), "successive_levels": False}),
            }
        )

    def _is_own(self, stage: Stage, kind: type[Stage], k: int, replicates: int | None = None) -> bool:
        count = replicates or self.replicates
        return isinstance(stage, kind) and any(u.arm == _probe_name(k) and u.replicate < count for u in stage.uses)


def _probe_name(k: int) -> str:
    return f"rewind@{k}"


def _default_workers(probing: _Probing, devices: Sequence[str], threads: int | None) -> int:
    trainings = (1 + probing.children) * probing.replicates
    if any(device.startswith("cuda") for device in devices):
        return min(len(devices), trainings)
    return max(1, min(cpu_count() // (threads or threads_asked() or 1), trainings))
