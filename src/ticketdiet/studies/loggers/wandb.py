"""Weights & Biases: one run per replicate of an arm, which later commands go on with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ticketdiet.core.extras import import_extra
from ticketdiet.studies.loggers.base import LOGGERS, LoggedRun, LoggedValue, Logger, by_step


@LOGGERS.register("wandb")
class WandB(Logger):
    """Logs into the project ``target``; WANDB_MODE=offline keeps everything on this machine until ``wandb sync``."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._module: Any = import_extra("wandb", "wandb")
        self._runs: dict[str, Any] = {}

    def log(self, run: LoggedRun, values: Sequence[LoggedValue]) -> None:
        """Add the numbers, each against its own axis."""
        active = self._active(run)
        for one in values:
            active.define_metric(one.name, step_metric=one.axis)
        for step in by_step(values):
            active.log({**step.values, step.axis: step.step})

    def close(self) -> None:
        """Hand over what is left, and end the runs."""
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _active(self, run: LoggedRun) -> Any:
        name = f"{run.study}/{run.name}"
        if name not in self._runs:
            self._runs[name] = self._module.init(
                project=self.target,
                group=run.study,
                job_type=run.arm,
                name=name,
                id=hashlib.sha256(name.encode()).hexdigest()[:16],
                resume="allow",
                reinit="create_new",  # the runs of other arms stay open
                config=dict(run.parameters),
                settings=self._module.Settings(silent=True, console="off"),
            )
        return self._runs[name]
