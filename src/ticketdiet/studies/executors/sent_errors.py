"""Errors on their way to another process: of classes that every process knows, as an error may be of any."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from ticketdiet.core import errors
from ticketdiet.core.errors import TicketDietError, described
from ticketdiet.studies.executors.base import WorkerLost

MOST_LINES = 30  # of a traceback or a log


class WorkFailed(TicketDietError):
    """A stage raised an error elsewhere that is none of this package's; the message has the end of its traceback."""


_KNOWN: Mapping[str, type[TicketDietError]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), WorkerLost, WorkFailed)
    if isinstance(kind, type) and issubclass(kind, TicketDietError)
}


def sendable(error: BaseException, log: str = "") -> TicketDietError:
    """Return an error that says the same, and that every process can read.

    Args:
        error: Whatever work has raised.
        log: Where more of it is.

    Returns:
        An error of this package as the nearest of its classes that all processes know; any other as ``WorkFailed``,
        with the end of its traceback.
    """
    if not isinstance(error, TicketDietError):
        return WorkFailed(
            f"{described(error)}\n{end_of(''.join(traceback.format_exception(error)))}",
            expected="a stage that ends, or says in a sentence why not",
            way_out=f"the whole log is {log}" if log else "run it with --executor local --workers 1 to see more",
        )
    kind = next(base for base in type(error).__mro__ if _KNOWN.get(base.__name__) is base)
    return kind(error.came, expected=error.expected, way_out=error.way_out)


def error_to_data(error: BaseException, log: str = "") -> dict[str, str]:
    """Describe an error as :func:`sendable` makes it, JSON-able."""
    sent = sendable(error, log)
    return {"kind": type(sent).__name__, "came": sent.came, "expected": sent.expected, "way_out": sent.way_out}


def error_of_data(data: object) -> TicketDietError:
    """Return the error that ``error_to_data`` described; of anything else, ``WorkFailed`` with what it is."""
    told = data if isinstance(data, Mapping) else {"came": data}
    parts = [str(told.get(part, "")) for part in ("came", "expected", "way_out")]
    return _KNOWN.get(str(told.get("kind")), WorkFailed)(parts[0], expected=parts[1], way_out=parts[2])


def end_of(text: str, lines: int = MOST_LINES) -> str:
    """Return the last lines of a text, and say how many were left out."""
    every = text.rstrip().splitlines()
    return "\n".join([f"... {len(every) - lines} lines before", *every[-lines:]] if len(every) > lines else every)
