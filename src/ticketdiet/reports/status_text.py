"""The status of a study in words and small curves, for the terminal and for notebooks alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ticketdiet.studies.time_left import duration

if TYPE_CHECKING:
    from ticketdiet.reports.status import ArmCurve, RunningStage, StudyStatus

BARS = "▁▂▃▄▅▆▇█"
MISSING = "·"
FLAT = BARS[3]  # where all values are equal


def headline(status: StudyStatus) -> str:
    """Say how many stages are done, running, failed, damaged and left."""
    counts = {
        "running": len(status.running),
        "failed": len(status.failed),
        "damaged": len(status.damaged),
        "left": status.left,
    }
    rest = "".join(f", {count:,} {name}" for name, count in counts.items() if count)
    return f"{status.study} on {status.store}: {status.done:,} of {status.stages:,} stages done{rest}"


def pace_line(status: StudyStatus) -> str:
    """Say how fast it goes and how long the rest takes; empty when neither is known, or nothing is left."""
    pace = status.pace
    if pace is None or status.is_complete:
        return ""
    speed = f"{pace.stages_per_hour:,.0f} stages per hour, {pace.images_per_second:,.0f} images per second"
    together = f"with {pace.processes:.1f} stages at once"
    if status.seconds_left is None:
        return f"{speed}, {together}; the time left is not known before a training is finished"
    return f"{speed}; about {duration(status.seconds_left)} left {together}"


def progress_of(running: RunningStage) -> str:
    """Say how far a stage is: steps of its last saved state."""
    if not running.steps:
        return ""
    return f"{running.step or 0:,} of {running.steps:,} steps"


def since_text(since: float | None, now: float) -> str:
    """Say for how long something goes on, both times in seconds since 1970."""
    if since is None:
        return ""
    return "less than a minute" if now - since < 60 else duration(now - since)


def curve_of(curve: ArmCurve, status: StudyStatus) -> str:
    """Draw the accuracies of an arm against level, on one scale for all arms; unfinished levels are dots."""
    known = [point.accuracy for one in status.curves for point in one.points if point.replicates]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return sparkline([point.accuracy for point in curve.points], low, high)


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw values as bars.

    Args:
        values: The values; NaN for a missing one.
        low: Value of the lowest bar.
        high: Value of the highest bar.

    Returns:
        One character per value: eight heights, or a dot.
    """
    return "".join(MISSING if math.isnan(value) else _bar(value, low, high) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    if high <= low:
        return FLAT
    height = math.floor((value - low) / (high - low) * len(BARS))
    return BARS[min(max(height, 0), len(BARS) - 1)]


def sparsest(curve: ArmCurve) -> str:
    """Say the accuracy at the lowest density that is finished, as in ``"0.873 at 3.5 %"``; empty before the first."""
    done = [point for point in curve.points if point.replicates]
    if not done:
        return ""
    return f"{done[-1].accuracy:.3f} at {100 * done[-1].density:.3g} %"


def finished_networks(curve: ArmCurve) -> str:
    """Say how many replicates each finished level has, as in ``"2 2 1"``; a dot where there is none."""
    return " ".join(str(point.replicates) if point.replicates else MISSING for point in curve.points)
