"""How a run looks while it goes on: a bar over all steps, what is running, how far, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ticketdiet.studies.plan import Plan
from ticketdiet.studies.run import RunObserver
from ticketdiet.studies.stage import Stage

SECONDS_BETWEEN_LINES = 10.0
MOST_BARS = 16  # of stages
LEAST_FRACTION_TO_FORETELL = 0.02  # of the steps: before it, the time left is a guess from how long starting took


class RunView(RunObserver):
    """Bars on a terminal; a line now and then elsewhere.

    Args:
        console: Where it is shown, by default standard error.
        advise: Says a line more before the work begins, of the plan and the addresses left; or nothing.
    """

    def __init__(
        self, console: Console | None = None, advise: Callable[[Plan, Collection[str]], str] = lambda plan, left: ""
    ) -> None:
        self._advise = advise
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._live = self._console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, int] = {}
        self._warned: set[str] = set()
        self._total = self._done = self._stages = self._finished = self._trained = 0
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:  # elsewhere stopping prints an empty line
            self._bars.stop()

    def planned(self, plan: Plan, left: Collection[str]) -> None:
        """Say the warnings of the plan, and begin the bar over all steps; each plan begins again."""
        for warning in plan.warnings:
            if warning not in self._warned:  # the plans of a search have them in common
                self._warned.add(warning)
                self._say(f"warning: {warning}")
        for bar in self._bars.task_ids:
            self._bars.remove_task(bar)
        self._done = self._finished = self._trained = 0
        self._began = self._last_line = time.monotonic()
        self._stages = len(left)
        self._total = sum(_weight(plan.stages[address]) for address in left)
        if not left:
            return
        self._say(f"{plan.study.study}: {len(left)} of {len(plan.stages)} stages to do")
        advice = self._advise(plan, left)
        if advice:
            self._say(advice)
        if self._live:
            self._overall = self._bars.add_task(plan.study.study, total=self._total, left="")
            self._bars.start()

    def set_aside(self, stage: Stage, reason: str) -> None:
        """Say that a damaged result is made again."""
        self._say(f"damaged result {stage.address} ({stage.label}): {reason}; it is set aside and made again")

    def started(self, stage: Stage) -> None:
        """Add a bar for the stage."""
        self._steps[stage.address] = 0
        if self._live and len(self._tasks) < MOST_BARS:  # a cluster has hundreds at a time
            self._tasks[stage.address] = self._bars.add_task(f"  {stage.label}", total=_weight(stage), left="")

    def progressed(self, stage: Stage, step: int) -> None:
        """Move the bars."""
        if stage.address in self._steps:
            self._steps[stage.address] = step
        if self._live and stage.address in self._tasks:
            self._bars.update(self._tasks[stage.address], completed=step)
        self._show_overall()

    def finished(self, stage: Stage, warnings: tuple[str, ...]) -> None:
        """Take the stage's bar away; show its warnings."""
        self._finished += 1
        self._trained += stage.cost.steps > 0
        self._end(stage)
        for warning in warnings:
            self._say(f"warning: {warning}")
        self._show_overall()

    def adopted(self, stage: Stage) -> None:
        """Count what another run has made."""
        self._finished += 1
        self._end(stage)
        self._show_overall()

    def waiting(self, stage: Stage, holder: str) -> None:
        """Say why nothing moves."""
        self._say(f"waiting for {stage.label} ({stage.address}), which {holder} makes")

    def failed(self, stage: Stage, error: BaseException) -> None:
        """Say what failed; the error at the end of the run says the rest."""
        self._end(stage)
        self._say(f"failed: {stage.label}: {(str(error).splitlines() or [type(error).__name__])[0]}")

    def _end(self, stage: Stage) -> None:
        self._steps.pop(stage.address, None)
        self._done += _weight(stage)
        if stage.address in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage.address))

    def _show_overall(self) -> None:
        done = self._done + sum(self._steps.values())
        if self._live:
            text = f"{self._finished} of {self._stages} stages"
            left = self._time_left(done)
            self._bars.update(self._overall, completed=done, description=text, left=left)
            return
        now = time.monotonic()
        if done and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = self._time_left(done)
            done_so_far = f"{self._finished} of {self._stages} stages, {100 * done / max(1, self._total):.0f} %"
            self._say(f"{done_so_far}, {left}" if left else done_so_far)

    def _time_left(self, done: int) -> str:
        if not self._trained or done < LEAST_FRACTION_TO_FORETELL * self._total:
            return ""
        return f"about {_clock((time.monotonic() - self._began) * (self._total - done) / done)} left"

    def _say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _weight(stage: Stage) -> int:
    return max(1, stage.cost.steps)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
