"""How a process that works stages ends when it is told to: the state of a training is saved first.

A signal may come anywhere. In a training, the end waits for the next step, where the state is whole. In other work
there is no state to save, so that it ends at once; the store never believes what is half written.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Literal

from torch import nn

from ticketdiet.training.loop import TrainingState
from ticketdiet.training.observers import Capture, Observer


class StageStopped(BaseException):
    """A stage was left, because its process was told to end; the state of a training is saved.

    It may be raised inside any library, and is no ``Exception`` so that none takes it for a failure of its own.

    Args:
        steps: Steps that were done since the process took the stage up.
    """

    def __init__(self, steps: int = 0) -> None:
        super().__init__(steps)
        self.steps = steps


class StopSignal:
    """Whether this process was told to end, and what that does at the moment.

    Attributes:
        number: The signal that came; None before one did.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._place: Literal["between", "stage", "training"] = "between"

    @property
    def came(self) -> bool:
        """Whether the process was told to end."""
        return self.number is not None

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal, as a handler does."""
        self.number = number
        if self._place == "stage":
            raise StageStopped

    @contextlib.contextmanager
    def handling(self, *numbers: signal.Signals) -> Iterator[None]:
        """Take these signals in the lines of the block; outside the main thread nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def stage(self) -> Iterator[None]:
        """The lines of the block work a stage, which a signal ends.

        Raises:
            StageStopped: When the signal came before.
        """
        if self.came:
            raise StageStopped
        self._place = "stage"
        try:
            yield
        finally:
            self._place = "between"

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """The lines of the block train, and look at this signal at every step (:class:`StopObserver`).

        Raises:
            StageStopped: When the signal came after the last step.
        """
        outside, self._place = self._place, "training"
        try:
            yield
        finally:
            self._place = outside
        if self.came:
            raise StageStopped


class StopObserver(Observer):
    """Saves the state of a training and leaves it, once the process was told to end.

    Args:
        stop: The signal.
        save: Receives the state.
    """

    def __init__(self, stop: StopSignal, save: Callable[[TrainingState], None]) -> None:
        self._stop, self._save = stop, save
        self._first: int | None = None

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Leave if the signal came.

        Raises:
            StageStopped: After the state was saved.
        """
        self._first = step if self._first is None else self._first
        if self._stop.came:
            self._save(capture())
            raise StageStopped(step - self._first)
