"""trackio: one run per replicate of an arm, in a local project."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from ticketdiet.core.extras import import_extra
from ticketdiet.studies.loggers.base import LOGGERS, LoggedRun, LoggedValue, Logger, by_step


@LOGGERS.register("trackio")
class Trackio(Logger):
    """Logs into the project ``target``: ``trackio show --project TARGET`` shows it."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._module: Any = import_extra("trackio", "trackio")

    def log(self, run: LoggedRun, values: Sequence[LoggedValue]) -> None:
        """Go on with the run, add the numbers, and leave it: only one can be active at a time."""
        with contextlib.redirect_stdout(io.StringIO()):  # it says how to look at a project, at each of its runs
            active = self._module.init(
                project=self.target,
                name=f"{run.study}/{run.name}",
                group=run.study,
                config=dict(run.parameters),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
            try:
                for step in by_step(values):
                    active.log({**step.values, step.axis: step.step}, step=step.step)
            finally:
                self._module.finish()
