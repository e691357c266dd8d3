"""Every error that ticketdiet raises on purpose, as one tree.

A message has three parts: what came, what was expected and the way out, so that nobody has to read a traceback::

    TicketDietError
    ├── UserError (also a ValueError)   the caller's mistake: exit code 2
    │   ├── UnknownName                 a name that no registry knows
    │   ├── StudyError                  a study file or a ``--set`` that the schema refuses
    │   ├── DataError                   images, labels, scores or subsets that cannot be used
    │   ├── DeviceError                 a device that this machine does not have
    │   └── NoStore                     a store that is read before it was made
    ├── StoreError                      a store that cannot be read or written: exit code 1
    │   └── DamagedResult               a stored result that does not match its checksums
    ├── TrainingDiverged                a loss that is no longer finite
    └── StagesFailed                    a run that ended with unfinished stages
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

_EXTENSIBLE = (  # other packages may register these
    "dataset",
    "initial weights",
    "label noise",
    "loss",
    "mask criterion",
    "model",
    "objective",
    "optimiser",
    "pruning criterion",
    "restart policy",
    "score",
    "subset",
)


class TicketDietError(Exception):
    """Base of all errors of this package; ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __init__(self, came: str, *, expected: str = "", way_out: str = "") -> None:
        self.came = came
        self.expected = expected
        self.way_out = way_out
        parts = [came]
        if expected:
            parts.append(f"  expected: {expected}")
        if way_out:
            parts.append(f"  way out:  {way_out}")
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default would lose the keyword-only parts.
        return _rebuild, (type(self), self.came, self.expected, self.way_out)


def shown(value: object, most: int = 200) -> str:
    """Return ``repr(value)``, cut in the middle where it is longer than ``most`` characters."""
    text = repr(value)
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or the name of its class when it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def described(error: BaseException) -> str:
    """Return what an error of this package says; of any other, its class and what it says."""
    said = str(error).strip()
    if isinstance(error, TicketDietError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _rebuild(kind: type[TicketDietError], came: str, expected: str, way_out: str) -> TicketDietError:
    return kind(came, expected=expected, way_out=way_out)


class UserError(TicketDietError, ValueError):
    """The caller asked for something that cannot be done as asked."""

    exit_code = 2


class UnknownName(UserError):
    """A name that no registry knows; the message lists the known names."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Make the error for ``name`` of ``kind`` ("dataset", "model", ...), with the most similar known name."""
        names = sorted(known)
        by_lower = {known_name.lower(): known_name for known_name in names}
        near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=1)]
        other = "use one of the known names" + (f", or register another {kind}" if kind in _EXTENSIBLE else "")
        return cls(
            f"Got the unknown {kind} {shown(name)}.",
            expected=f"one of: {', '.join(names)}",
            way_out=f"did you mean {near[0]!r}?" if near else other,
        )


class StudyError(UserError):
    """The schema refuses a study file, a recipe or a ``--set``."""


class DataError(UserError):
    """Images, labels, scores or subsets cannot be used as they are."""


class DeviceError(UserError):
    """The caller asked for a device that this machine does not have."""


class NoStore(UserError):
    """A store is read at a place where there is none."""


class StoreError(TicketDietError):
    """A store cannot be read or written."""


class DamagedResult(StoreError):
    """A stored result lacks files or does not match its checksums."""


class TrainingDiverged(TicketDietError):
    """The loss of a training is no longer finite; raised before the update that would use it."""


class StagesFailed(TicketDietError):
    """A run finished what it could; the message lists what failed."""


def check_known(kind: str, name: str, known: Collection[str]) -> None:
    """Raise ``UnknownName`` when ``name``, of ``kind`` ("BatchNorm mode", ...), is not one of the ``known`` names."""
    if name not in known:
        raise UnknownName.of(kind, str(name), known)
