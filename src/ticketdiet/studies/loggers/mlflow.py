"""MLflow: an experiment per study, and one run per replicate of an arm."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ticketdiet.core.errors import UserError, shown
from ticketdiet.core.extras import import_extra
from ticketdiet.studies.loggers.base import LOGGERS, LoggedRun, LoggedValue, Logger

TAG = "ticketdiet.run"
MOST_CHARACTERS = 500  # of the value of a parameter
MOST_AT_ONCE = 100  # parameters, and numbers


@LOGGERS.register("mlflow")
class MLflow(Logger):
    """Logs to the tracking URI ``target``, such as ``http://HOST:PORT``.

    Raises:
        UserError: When MLflow is not installed, or cannot use the URI.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._tracking: Any = import_extra("mlflow.tracking", "mlflow")
        self._entities: Any = import_extra("mlflow.entities", "mlflow")
        try:
            self._client: Any = self._tracking.MlflowClient(tracking_uri=target)
        except Exception as error:  # MLflow raises its own, and whatever a database raises
            raise UserError(
                f"MLflow cannot use {shown(target)}: {error}",
                expected="the address of a tracking server, or what else MLflow takes as a tracking URI",
                way_out="start one with `mlflow server`, and give --log mlflow:http://HOST:PORT",
            ) from error
        self._runs: dict[tuple[str, str], str] = {}

    def log(self, run: LoggedRun, values: Sequence[LoggedValue]) -> None:
        """Add the numbers to the run, which is made when it is not there."""
        key = (run.study, run.name)
        if key not in self._runs:
            self._runs[key] = self._find_run(run)
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(one.name, one.value, now, one.step) for one in values]
        for start in range(0, len(metrics), MOST_AT_ONCE):
            self._client.log_batch(self._runs[key], metrics=metrics[start : start + MOST_AT_ONCE])

    def close(self) -> None:
        """Say that the runs have ended."""
        for run in self._runs.values():
            self._client.set_terminated(run)

    def _find_run(self, run: LoggedRun) -> str:
        experiment = self._client.get_experiment_by_name(run.study)
        number = self._client.create_experiment(run.study) if experiment is None else experiment.experiment_id
        found = [one for one in self._client.search_runs([number]) if one.data.tags.get(TAG) == run.name]
        if found:
            return str(found[0].info.run_id)
        made = self._client.create_run(number, run_name=run.name, tags={TAG: run.name})
        parameters = [
            self._entities.Param(name, str(value)[:MOST_CHARACTERS]) for name, value in run.parameters.items()
        ]
        for start in range(0, len(parameters), MOST_AT_ONCE):
            self._client.log_batch(made.info.run_id, params=parameters[start : start + MOST_AT_ONCE])
        return str(made.info.run_id)
