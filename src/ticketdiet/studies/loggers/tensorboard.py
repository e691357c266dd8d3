"""TensorBoard: event files in a folder, one folder per run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ticketdiet.core.extras import import_extra
from ticketdiet.studies.loggers.base import LOGGERS, LoggedRun, LoggedValue, Logger


@LOGGERS.register("tensorboard")
class TensorBoard(Logger):
    """Writes event files below the folder ``target``: ``tensorboard --logdir TARGET`` shows them."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        import_extra("tensorboard", "tensorboard")
        self._module: Any = import_extra("torch.utils.tensorboard", "tensorboard")
        self._writers: dict[Path, Any] = {}

    def log(self, run: LoggedRun, values: Sequence[LoggedValue]) -> None:
        """Write the numbers; the parameters come first, as text."""
        writer = self._writer(run)
        for one in values:
            writer.add_scalar(one.name, one.value, one.step)
        writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, run: LoggedRun) -> Any:
        folder = Path(self.target, run.study, run.name)
        if folder not in self._writers:
            self._writers[folder] = self._module.SummaryWriter(log_dir=str(folder))
            lines = "\n".join(f"    {name}: {value}" for name, value in run.parameters.items())
            self._writers[folder].add_text("parameters", lines)
        return self._writers[folder]
