"""Ends the runs of a study on this machine, as Ctrl-C on their terminals would."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ticketdiet.store.presence import Presence
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Cancelled:
    """What has become of the runs of a study; each is named in words.

    Attributes:
        ended: Runs that ended.
        running: Runs that were told to end, and have not done so in time.
        elsewhere: Runs on other machines, which are not touched.
        programs: Runs in programs of the user's, such as notebooks, which are not touched.
    """

    ended: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there was any run."""
        return bool(self.ended or self.running or self.elsewhere or self.programs)


def cancel_runs(
    store: ResultStore,
    plan: Plan,
    *,
    patience: float = 60.0,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Cancelled:
    """End the runs of a study on this machine, and wait until they have saved their state and are gone.

    Args:
        store: Where they are announced.
        plan: The study.
        patience: Seconds to wait.
        pause: Function that waits a number of seconds.
        clock: Function that returns a monotonic time in seconds.

    Returns:
        What has become of them.
    """
    ours = [one for one in store.drivers() if _is_of(one, plan)]
    here = [one for one in ours if one.is_here()]
    told = [one for one in here if one.stoppable and one.pid != os.getpid() and _tell(one)]
    until = clock() + patience
    while any(not one.is_dead() for one in told) and clock() < until:
        pause(SECONDS_BETWEEN_LOOKS)
    return Cancelled(
        ended=_labels([one for one in told if one.is_dead()]),
        running=_labels([one for one in told if not one.is_dead()]),
        elsewhere=_labels([one for one in ours if one not in here]),
        programs=_labels([one for one in here if one not in told]),
    )


def _is_of(run: Presence, plan: Plan) -> bool:
    return run.study == plan.study.study and not plan.stages.keys().isdisjoint(run.reaches)


def _tell(run: Presence) -> bool:
    try:
        os.kill(run.pid, signal.SIGTERM)
    except ProcessLookupError:  # it ended at this moment
        return True
    except PermissionError:  # another user's
        return False
    return True


def _labels(runs: list[Presence]) -> tuple[str, ...]:
    return tuple(one.label for one in runs)
