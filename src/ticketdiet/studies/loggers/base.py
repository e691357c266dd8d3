"""Loggers: other programs that are told every number of a study as it comes, such as TensorBoard.

They are told what is in the store already, and what they do with it changes no number and no address. A logger is a
class with one verb, ``log``. Another package adds one with ``LOGGERS.register(name)`` or an entry point in the group
``ticketdiet.loggers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ticketdiet.core.registry import Registry

LOGGERS: Registry[type[Logger]] = Registry("logger")

Scalar = str | int | float | bool
Axis = Literal["training_step", "level"]


@dataclass(frozen=True)
class LoggedRun:
    """What the numbers belong to: one replicate of an arm, or a score.

    Attributes:
        study: Name of the study.
        arm: Name of the arm or of the score.
        replicate: From 0; None for a score that all replicates share.
        parameters: What the study file says of it, by path: ``"training.lr"``. Numbers, words and truth values.
    """

    study: str
    arm: str
    replicate: int | None
    parameters: Mapping[str, Scalar]

    @property
    def name(self) -> str:
        """Name of the run inside its study, the same in every command: ``"all@20/replicate0"``."""
        return self.arm if self.replicate is None else f"{self.arm}/replicate{self.replicate}"


@dataclass(frozen=True)
class LoggedValue:
    """One number.

    Attributes:
        name: What it is: ``"level02/accuracy/test"`` along a training, ``"levels/accuracy/test"`` against level.
        value: The number.
        step: Where on the axis it is.
        axis: What it is shown against: ``"training_step"`` or ``"level"``.
    """

    name: str
    value: float
    step: int
    axis: Axis = "training_step"


@dataclass(frozen=True)
class LoggedStep:
    """All numbers of one place on one axis.

    Attributes:
        axis: ``"training_step"`` or ``"level"``.
        step: Where on the axis.
        values: Name -> number.
    """

    axis: Axis
    step: int
    values: Mapping[str, float]


def by_step(values: Sequence[LoggedValue]) -> list[LoggedStep]:
    """Gather numbers by where they are shown, for programs that take all numbers of a step at once."""
    found: dict[tuple[Axis, int], dict[str, float]] = {}
    for one in values:
        found.setdefault((one.axis, one.step), {})[one.name] = one.value
    return [LoggedStep(axis, step, numbers) for (axis, step), numbers in found.items()]


class Logger:
    """Tells another program what a study measured. Override ``log``; register the class under a name in ``LOGGERS``.

    Args:
        target: What stands behind the colon of ``--log NAME:TARGET``: a folder, a URL, the name of a project.
    """

    def __init__(self, target: str) -> None:
        self.target = target

    def log(self, run: LoggedRun, values: Sequence[LoggedValue]) -> None:
        """Hand the numbers of one finished stage over.

        Args:
            run: What they belong to. It comes again with each of its stages, also in later commands.
            values: The numbers, in ascending order of steps for each name.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End; by default nothing happens."""
