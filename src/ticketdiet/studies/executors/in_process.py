"""Works stages right here, one after another."""

from __future__ import annotations

import signal
from concurrent.futures import Future

from ticketdiet.studies.context import Context
from ticketdiet.studies.executors.base import Progress, Warnings
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stopping import StageStopped
from ticketdiet.studies.work import perform


class InProcess:
    """Works one stage at a time, right here; ``submit`` returns when it is done."""

    capacity = 1

    def __init__(self, context: Context) -> None:
        self._context = context

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Work the stage now."""
        future: Future[Warnings] = Future()
        stop = self._context.stop
        # Where a signal only ends the process, as in a user's own program, it goes on doing that.
        signals = [signal.SIGTERM] if callable(signal.getsignal(signal.SIGTERM)) else []
        try:
            with stop.handling(*signals), stop.stage():
                future.set_result(perform(self._context, stage))
        except (Exception, StageStopped) as error:
            future.set_exception(error)
        return future

    def progress(self) -> list[Progress]:
        """Nothing: the context reports by itself."""
        return []

    def close(self, *, now: bool = False) -> None:
        """Nothing runs any more."""
