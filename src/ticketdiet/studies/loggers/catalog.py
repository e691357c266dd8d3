"""From the name of a logger to the logger. None of the libraries behind them is imported before it is asked for."""

from __future__ import annotations

from ticketdiet.core.errors import UserError, check_known, shown
from ticketdiet.studies.loggers import mlflow, tensorboard, trackio, wandb  # noqa: F401 - they register themselves
from ticketdiet.studies.loggers.base import LOGGERS, Logger


def make_logger(text: str) -> Logger:
    """Make the logger that ``NAME:TARGET`` asks for.

    Args:
        text: Name of a registered logger, a colon, and its target.

    Returns:
        The logger, which has told its program nothing yet.

    Raises:
        UserError: When there is no target, no such logger, or the library that it needs is not installed.
    """
    name, _, target = text.partition(":")
    check_known("logger", name, LOGGERS.names())
    if not target:
        raise UserError(
            f"The logger {shown(text)} has no target.",
            expected="NAME:TARGET, where the target is a folder, a URL or the name of a project",
            way_out=f"for example {name}:logs",
        )
    return LOGGERS.get(name)(target)
