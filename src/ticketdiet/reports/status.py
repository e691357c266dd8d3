"""How a study stands, from its store alone: what is done, what runs and where, what failed, how long the rest takes.

A store is read while others work on it; nothing is announced and nothing is written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ticketdiet.core.errors import TicketDietError
from ticketdiet.reports.pace import Pace, Timing, measure_pace, seconds_left
from ticketdiet.reports.status_html import status_html
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stages.masked import MaskedTraining


@dataclass(frozen=True)
class RunningStage:
    """A stage that a run works on.

    Attributes:
        label: The stage in words.
        address: Its address.
        driver: The run, in words.
        since: When it began, in seconds since 1970 by the clock of the store; None when unknown.
        step: Steps done when its state was saved last; None before that.
        steps: Steps it has; 0 when it does not train.
    """

    label: str
    address: str
    driver: str
    since: float | None
    step: int | None
    steps: int


@dataclass(frozen=True)
class ActiveRun:
    """A run that works on the study now, on this machine or elsewhere.

    Attributes:
        label: The run in words.
        executor: Where it works the stages, in a word.
        stages: Number of stages that it has begun or handed in.
        log: Where its output goes, when it runs without a terminal; else empty.
    """

    label: str
    executor: str
    stages: int
    log: str


@dataclass(frozen=True)
class StageProblem:
    """A stage that failed when it was tried last, or whose result is damaged.

    Attributes:
        label: The stage in words.
        address: Its address.
        message: What went wrong.
    """

    label: str
    address: str
    message: str


@dataclass(frozen=True)
class CurvePoint:
    """Test accuracy at a level of an arm, so far.

    Attributes:
        level: From 0, which is dense.
        density: Fraction of prunable weights kept.
        accuracy: Mean over the finished replicates, in [0, 1]; NaN when there is none.
        replicates: Number of finished replicates.
    """

    level: int
    density: float
    accuracy: float
    replicates: int


@dataclass(frozen=True)
class ArmCurve:
    """Test accuracy against level for an arm.

    Attributes:
        arm: Name of the arm.
        points: One per level, the dense one first.
    """

    arm: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands. ``done``, ``running``, ``failed``, ``damaged`` and ``left`` add up to ``stages``.

    Attributes:
        study: Name of the study.
        store: Where its results are.
        stages: Number of stages.
        done: Number of those with a result.
        running: Stages that runs work on now.
        failed: Stages that failed when they were tried last, and are not being tried again.
        damaged: Stages whose results are damaged: a run makes them again.
        left: Number of the other stages.
        pace: How fast the last results came; None before the first.
        seconds_left: How long the rest takes with as many processes as before; None when that is not known.
        curves: Test accuracy by arm and level.
        runs: The runs that work on it now.
    """

    study: str
    store: str
    stages: int
    done: int
    running: tuple[RunningStage, ...]
    failed: tuple[StageProblem, ...]
    damaged: tuple[StageProblem, ...]
    left: int
    pace: Pace | None
    seconds_left: float | None
    curves: tuple[ArmCurve, ...]
    runs: tuple[ActiveRun, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every stage is done."""
        return self.done == self.stages

    def _repr_html_(self) -> str:
        """Show the status in a notebook."""
        return status_html(self)


@dataclass(frozen=True)
class _Finished:
    """What a finished stage says; read once, since results do not change."""

    timing: Timing | None
    accuracy: float
    density: float


class StatusReader:
    """Reads how a study stands, again and again: results that it has seen are not read twice.

    Args:
        plan: The stages of the study.
        url: Name of the store, for people.
    """

    def __init__(self, plan: Plan, url: str) -> None:
        self._plan, self._url = plan, url
        self._finished: dict[str, _Finished] = {}

    def read(self, store: ResultStore | None) -> StudyStatus:
        """Return how the study stands now.

        Args:
            store: Where its results are; None when there is no store yet.
        """
        damaged = {} if store is None else self._look(store)
        rest = {address: stage for address, stage in self._plan.stages.items() if address not in self._finished}
        running = () if store is None else _running(store, rest)
        idle = {address: rest[address] for address in rest.keys() - {one.address for one in running}}
        messages = (
            {} if store is None else {failure.address: failure.message for failure in store.failed.read().values()}
        )
        failed = _problems(rest, {address: messages[address] for address in messages.keys() & idle.keys()})
        broken = _problems(
            rest, {address: damaged[address] for address in damaged.keys() & idle.keys() - messages.keys()}
        )
        timings = [one.timing for one in self._finished.values() if one.timing is not None]
        return StudyStatus(
            study=self._plan.study.study,
            store=self._url,
            stages=len(self._plan.stages),
            done=len(self._finished),
            running=running,
            failed=failed,
            damaged=broken,
            left=len(idle) - len(failed) - len(broken),
            pace=measure_pace(timings),
            seconds_left=seconds_left(timings, _fractions(rest, running)),
            curves=self._curves(),
            runs=() if store is None else _runs(store, self._plan, running),
        )

    def _look(self, store: ResultStore) -> dict[str, str]:
        """Read what has been finished since the last look, and return what is damaged."""
        damaged: dict[str, str] = {}
        rest = [address for address in self._plan.stages if address not in self._finished]
        statuses = store.statuses(rest, tolerant=True)
        done = [address for address, status in statuses.items() if status.state == "done"]
        store.fetch([address for address in done if isinstance(self._plan.stages[address], MaskedTraining)])
        for address in done:
            try:
                self._finished[address] = _read(store, self._plan.stages[address])
            except TicketDietError as error:
                damaged[address] = error.came.removesuffix(".")
        return damaged | {address: status.reason for address, status in statuses.items() if status.state == "damaged"}

    def _curves(self) -> tuple[ArmCurve, ...]:
        found: dict[str, dict[int, list[_Finished | None]]] = {arm: {} for arm in self._plan.study.arms}
        for stage in self._plan.of(MaskedTraining):
            for use in stage.uses:
                if use.arm in found and not use.through:
                    found[use.arm].setdefault(use.level, []).append(self._finished.get(stage.address))
        return tuple(
            ArmCurve(arm, tuple(_point(level, levels[level]) for level in sorted(levels)))
            for arm, levels in found.items()
        )


def _point(level: int, networks: list[_Finished | None]) -> CurvePoint:
    done = [network for network in networks if network is not None and not math.isnan(network.accuracy)]
    if not done:
        return CurvePoint(level, math.nan, math.nan, 0)
    density, accuracy = (
        sum(values) / len(done) for values in zip(*((n.density, n.accuracy) for n in done), strict=True)
    )
    return CurvePoint(level, density, accuracy, len(done))


def _running(store: ResultStore, rest: Mapping[str, Stage]) -> tuple[RunningStage, ...]:
    held = store.held()
    return tuple(
        RunningStage(
            label=stage.label,
            address=address,
            driver=held[address].driver,
            since=held[address].since,
            step=_saved_step(store, stage),
            steps=stage.cost.steps,
        )
        for address, stage in rest.items()
        if address in held
    )


def _runs(store: ResultStore, plan: Plan, running: Collection[RunningStage]) -> tuple[ActiveRun, ...]:
    ours = [one for one in store.drivers() if one.study and not plan.stages.keys().isdisjoint(one.reaches)]
    counts = Counter(stage.driver for stage in running)
    return tuple(ActiveRun(one.label, one.executor, counts[one.label], one.log) for one in ours)


def _problems(rest: Mapping[str, Stage], messages: Mapping[str, str]) -> tuple[StageProblem, ...]:
    """Name the stages that have a message, in the order of the plan."""
    return tuple(
        StageProblem(stage.label, address, messages[address]) for address, stage in rest.items() if address in messages
    )


def _fractions(rest: Mapping[str, Stage], running: Collection[RunningStage]) -> dict[Stage, float]:
    """Fraction of each unfinished stage that is to be done."""
    done = {one.address: (one.step or 0) / one.steps for one in running if one.steps}
    return {stage: 1.0 - min(1.0, done.get(address, 0.0)) for address, stage in rest.items()}


def _saved_step(store: ResultStore, stage: Stage) -> int | None:
    """Steps of the stage that its last saved state has done."""
    try:
        document = store.partial_document(stage.address)
    except TicketDietError:
        return None
    step = document.get("step") if isinstance(document, dict) else None
    return step - getattr(stage, "start_step", 0) if isinstance(step, int) else None


def _read(store: ResultStore, stage: Stage) -> _Finished:
    timing = _timing(stage, store.manifest(stage.address).provenance)
    if not isinstance(stage, MaskedTraining):
        return _Finished(timing, math.nan, math.nan)
    rows = store.document(stage.address, "rows")
    accuracies = [row for row in rows if (row["metric"], row["split"]) == ("accuracy", "test")]
    last = max(accuracies, key=lambda row: row["step"], default={"value": math.nan})
    return _Finished(timing, float(last["value"]), float(store.document(stage.address, "facts")["density"]))


def _timing(stage: Stage, provenance: Mapping[str, Any]) -> Timing | None:
    try:
        finished = datetime.fromisoformat(provenance["finished"])
        return Timing(stage, finished.replace(tzinfo=finished.tzinfo or UTC).timestamp(), float(provenance["seconds"]))
    except (KeyError, TypeError, ValueError):
        return None
