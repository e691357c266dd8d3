"""How fast a study goes and how long the rest takes, from when the last results were made and how long each took."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ticketdiet.studies.stage import Stage

MOST_RESULTS = 100  # the last ones decide: an earlier run may have had another machine
HOUR = 3600.0


@dataclass(frozen=True, eq=False)
class Timing:
    """When a result was made.

    Attributes:
        stage: Its stage.
        finished: When, in seconds since 1970.
        seconds: How long its process worked on it.
    """

    stage: Stage
    finished: float
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How fast results come, in the time in which any was worked on; pauses between runs do not count.

    Attributes:
        stages_per_hour: Finished stages.
        images_per_second: Images shown in training, of all processes together.
        processes: Stages that were worked on at once, on average.
    """

    stages_per_hour: float
    images_per_second: float
    processes: float


def measure_pace(timings: Collection[Timing]) -> Pace | None:
    """Return how fast the last results came; None before the first.

    Args:
        timings: Of finished stages, in any order.
    """
    last = _last(timings)
    busy = _busy_seconds((one.finished - one.seconds, one.finished) for one in last)
    if busy <= 0:
        return None
    return Pace(
        stages_per_hour=HOUR * len(last) / busy,
        images_per_second=sum(one.stage.cost.examples for one in last) / busy,
        processes=sum(one.seconds for one in last) / busy,
    )


def seconds_left(timings: Collection[Timing], left: Mapping[Stage, float]) -> float | None:
    """Foretell how long the rest of a study takes, with as many processes as worked at once before.

    A training is weighed by its arithmetic, at the pace of finished ones of its kind and level, or else of its kind, or
    else of all. What does not train takes as long as others of its kind did, and nothing as long as none is known.

    Args:
        timings: Of finished stages, in any order.
        left: Stages that are not finished -> fraction of each that is still to be done, in [0, 1].

    Returns:
        None while no training is finished and there are some to come.
    """
    pace = measure_pace(timings)
    if pace is None:
        return None if left else 0.0
    rates = _rates(_last(timings))
    each = [fraction * _expected(stage, rates) for stage, fraction in left.items()]
    total = sum(each)
    return None if math.isnan(total) else total / max(1.0, pace.processes)


def _last(timings: Collection[Timing]) -> list[Timing]:
    return sorted(timings, key=lambda one: one.finished)[-MOST_RESULTS:]


def _busy_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, end = 0.0, -math.inf
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _keys(stage: Stage) -> Sequence[tuple[object, ...]]:
    """What a stage's time is foretold from, the best first."""
    level = stage.uses[0].level if stage.uses else -1
    trains = stage.cost.flops > 0
    return [(trains, stage.kind, level), (trains, stage.kind), *([(trains,)] if trains else [])]


def _rates(timings: Iterable[Timing]) -> dict[tuple[object, ...], float]:
    """Key -> seconds per operation of the stages that have it, or per stage where these do not train."""
    seconds: dict[tuple[object, ...], float] = {}
    weights: dict[tuple[object, ...], float] = {}
    for one in timings:
        for key in _keys(one.stage):
            seconds[key] = seconds.get(key, 0.0) + one.seconds
            weights[key] = weights.get(key, 0.0) + (one.stage.cost.flops or 1)
    return {key: seconds[key] / weights[key] for key in seconds}


def _expected(stage: Stage, rates: Mapping[tuple[object, ...], float]) -> float:
    """Seconds that a stage will take; NaN for a training when none is finished."""
    rate = next((rates[key] for key in _keys(stage) if key in rates), math.nan if stage.cost.flops else 0.0)
    return rate * (stage.cost.flops or 1)
