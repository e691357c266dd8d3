"""From finished stages to loggers: which run a number belongs to, and what it is called."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import BaseModel

from ticketdiet.store.results import ResultStore
from ticketdiet.studies.loggers.base import LoggedRun, LoggedValue, Logger, Scalar
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.run import RunObserver
from ticketdiet.studies.spec import StudySpec
from ticketdiet.studies.stage import Row, Stage, Use
from ticketdiet.studies.stages.masked import MaskedTraining


class LoggingObserver(RunObserver):
    """Hands the numbers of every stage that a run makes to loggers, and everything else on to another observer.

    A logger that fails is told nothing more: a run of days does not end because a server is away.

    Args:
        observer: Is told how the run goes.
        store: Where the results are.
        loggers: Are told the numbers.
    """

    def __init__(self, observer: RunObserver, store: ResultStore, loggers: Sequence[Logger]) -> None:
        self._observer, self._store = observer, store
        self._loggers, self._well = tuple(loggers), list(loggers)
        self._study: StudySpec | None = None

    def planned(self, plan: Plan, left: Collection[str]) -> None:
        """Remember the study."""
        self._study = plan.study
        self._observer.planned(plan, left)

    def set_aside(self, stage: Stage, reason: str) -> None:
        """Hand on."""
        self._observer.set_aside(stage, reason)

    def started(self, stage: Stage) -> None:
        """Hand on."""
        self._observer.started(stage)

    def progressed(self, stage: Stage, step: int) -> None:
        """Hand on."""
        self._observer.progressed(stage, step)

    def finished(self, stage: Stage, warnings: tuple[str, ...]) -> None:
        """Log the numbers of the stage, and hand on with a warning for each logger that failed."""
        self._observer.finished(stage, (*warnings, *self._log(stage)))

    def adopted(self, stage: Stage) -> None:
        """Hand on: the run that made it has logged it."""
        self._observer.adopted(stage)

    def waiting(self, stage: Stage, holder: str) -> None:
        """Hand on."""
        self._observer.waiting(stage, holder)

    def failed(self, stage: Stage, error: BaseException) -> None:
        """Hand on."""
        self._observer.failed(stage, error)

    def close(self) -> None:
        """End the loggers."""
        for logger in self._loggers:
            with contextlib.suppress(Exception):  # the work is done, and errors of the run itself must not be hidden
                logger.close()

    def _log(self, stage: Stage) -> list[str]:
        """Log the numbers of a stage, and return what went wrong."""
        assert self._study is not None
        rows = self._store.document(stage.address, "rows")
        facts = self._store.document(stage.address, "facts")
        problems: list[str] = []
        for use in stage.uses if rows else ():
            if not use.through:
                run = run_of(self._study, use)
                problems += self._tell(run, list(values_of(stage, use, rows, facts)))
        return problems

    def _tell(self, run: LoggedRun, values: Sequence[LoggedValue]) -> Iterator[str]:
        for logger in list(self._well):
            try:
                logger.log(run, values)
            except Exception as error:  # whatever another library raises
                self._well.remove(logger)
                what = f"The logger {type(logger).__name__} for {logger.target} failed"
                yield f"{what} and is told nothing more: {type(error).__name__}: {error}"


def run_of(study: StudySpec, use: Use) -> LoggedRun:
    """Return the run that the numbers of a stage belong to for one of its users."""
    replicate = use.replicate if use.replicate >= 0 else None
    parts: dict[str, Any] = {"study": study.study, "dataset": study.dataset, "seed": study.seed}
    if use.arm in study.arms:
        arm = study.arm(use.arm)
        parts |= {"arm": use.arm} | {field.name: getattr(arm, field.name) for field in fields(arm)[1:]}
    else:
        parts |= {"score": use.arm, "scores": study.scores[use.arm]}
    parts |= {} if replicate is None else {"replicate": replicate}
    return LoggedRun(study.study, use.arm, replicate, dict(_flat("", parts)))


def _flat(path: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    """Yield the scalars inside a value by their path; what is not given is left out."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    if isinstance(plain, Mapping):
        for key, inner in plain.items():
            yield from _flat(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(plain, Scalar):
        yield path, plain
    elif plain is not None:
        yield path, json.dumps(plain)


def values_of(stage: Stage, use: Use, rows: Sequence[Row], facts: Mapping[str, Any]) -> Iterator[LoggedValue]:
    """Name the numbers of a stage.

    Args:
        stage: The stage.
        use: Who uses it.
        rows: Its rows.
        facts: Its facts.

    Yields:
        Every finite row against its training step, and the last ones of a level against the level, with its density.
    """
    finite = [row for row in rows if row["value"] is not None and math.isfinite(row["value"])]
    prefix = f"level{use.level:02d}" if use.level >= 0 else stage.kind
    for row in sorted(finite, key=lambda row: row["step"] or 0):
        yield LoggedValue(f"{prefix}/{_name(row)}", float(row["value"]), int(row["step"] or 0))
    if use.level < 0:
        return
    last = {_name(row): row for row in sorted(finite, key=lambda row: row["step"] or 0)}
    for name, row in last.items():
        yield LoggedValue(f"levels/{name}", float(row["value"]), use.level, "level")
    if isinstance(stage, MaskedTraining):
        yield LoggedValue("levels/density", float(facts["density"]), use.level, "level")


def _name(row: Row) -> str:
    return "/".join(str(row[key]) for key in ("metric", "split", "pair") if row.get(key))
