"""Works stages on this machine with several devices for each: one team of processes for every stage at a time."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ticketdiet.studies.executors.base import Progress, Warnings
from ticketdiet.studies.executors.children import drained
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.team import Team
from ticketdiet.studies.stage import Stage


class Teams:
    """Works as many stages at once as there are teams.

    Args:
        orders: How each team works.
    """

    def __init__(self, orders: Sequence[WorkerOrder]) -> None:
        self.capacity = len(orders)
        self._reports: queue.SimpleQueue[Progress] = queue.SimpleQueue()
        self._teams = [Team(one) for one in orders]
        self._free: queue.SimpleQueue[Team] = queue.SimpleQueue()
        for team in self._teams:
            self._free.put(team)
        self._threads = ThreadPoolExecutor(self.capacity, thread_name_prefix="team")

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Queue the stage for the next free team."""
        return self._threads.submit(self._perform, stage)

    def progress(self) -> list[Progress]:
        """Return the steps reported since the last call."""
        return drained(self._reports)

    def close(self, *, now: bool = False) -> None:
        """Wait for what runs and end; with ``now``, end the processes at once."""
        if now:
            for team in self._teams:
                team.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for team in self._teams:
            team.end()

    def _perform(self, stage: Stage) -> Warnings:
        team = self._free.get()
        try:
            return team.perform(stage, lambda address, step: self._reports.put((address, step)))
        finally:
            self._free.put(team)
