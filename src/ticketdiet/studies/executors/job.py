"""What a job does on another machine: work stages one after another, and end in time with the state saved.

The order of a job is a text (JSON) of plain data. Before any work, the job compares its own code with that of the run,
and plans every stage again from its fields: both must give what the run has.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketdiet.core.errors import TicketDietError, UserError
from ticketdiet.studies.context import Context
from ticketdiet.studies.executors.notes import Notes
from ticketdiet.studies.executors.orders import StageOrder
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stage_data import stage_of_data
from ticketdiet.studies.stopping import StageStopped, StopSignal
from ticketdiet.studies.work import perform

MOST_FUTILE_JOBS = 3  # whose time ends before a stage gets on; a signal right at the start says little
STOPPING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


@dataclass(frozen=True)
class JobOrder(StageOrder):
    """What a job is to do.

    Attributes:
        notes: Folder in which it tells how it goes.
    """

    notes: str


def work_job(text: str, log: str = "") -> int | None:
    """Work the stages of a job until all have ended, or until a signal says that its time is over.

    Args:
        text: Its order.
        log: Where its log is, for messages.

    Returns:
        None when all stages have ended; the number of the signal when the rest is to be worked later. Then the state
        of a training is saved. A stage that never gets on before the signal fails in the end.
    """
    body = json.loads(text)
    notes, stop = Notes(Path(body["notes"])), StopSignal()
    with stop.handling(*STOPPING):
        try:
            order = JobOrder.of_text(text)
            stages = [stage_of_data(data) for data in order.stages]
            context = order.worker.begin(report=lambda stage, step: notes.progressed(stage.address, step), stop=stop)
        except (TicketDietError, ValueError, KeyError) as error:
            for data in body["stages"]:
                notes.failed(data["address"], error, log)
            return None
        return _work(stages, context, notes, log)


def _work(stages: Sequence[Stage], context: Context, notes: Notes, log: str) -> int | None:
    missing: set[str] = set()
    made = 0
    for number, stage in enumerate(stages):
        if not missing.isdisjoint(stage.inputs.values()):
            missing.add(stage.address)
            notes.not_begun(stage.address)
            continue
        try:
            with context.stop.stage():
                is_new = not context.store.has(stage.address)  # the job may have been begun before
                warnings = perform(context, stage)
        except StageStopped as stopped:
            got_on = made or stopped.steps or context.stop.number == signal.SIGTERM
            if got_on or notes.futile(stage.address) < MOST_FUTILE_JOBS:
                return context.stop.number
            notes.failed(stage.address, _too_short(stage), log)
            for left in stages[number + 1 :]:
                notes.not_begun(left.address)
            return None
        except Exception as error:
            missing.add(stage.address)
            notes.failed(stage.address, error, log)
        else:
            notes.done(stage.address, warnings)
            made += is_new
    return None


def _too_short(stage: Stage) -> UserError:
    return UserError(
        f"The time of {MOST_FUTILE_JOBS} jobs ended before they had done one step of {stage.label}.",
        expected="time for reading the data and for some steps of a training",
        way_out="give the executor more time per job (time: 4h), or a larger device",
    )
