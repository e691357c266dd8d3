"""Which stages of a run can begin now: each is looked at when one of its inputs is made, and never besides."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from ticketdiet.studies.dependencies import needed_by, work_behind
from ticketdiet.studies.plan import Plan


class Frontier:
    """The stages that are still to be made, and which of them have all their inputs.

    Stages of earlier replicates come first, so that a run that is stopped has whole ones; among these, the one with the
    longest chain of work behind it.

    Args:
        plan: All stages.
        waiting: Addresses of those to be made; all others are there.

    Attributes:
        waiting: Addresses of the stages that have not begun.
    """

    def __init__(self, plan: Plan, waiting: Iterable[str]) -> None:
        self.waiting = dict.fromkeys(waiting)
        self._plan, self._behind, self._needed_by = plan, work_behind(plan), needed_by(plan)
        self._undone = set(self.waiting)  # waiting, running, or failed
        self._arrange()

    def is_ready(self, address: str) -> bool:
        """Whether a stage has not begun and has all its inputs."""
        return address in self.waiting and not self._lacks[address]

    def pop(self) -> str | None:
        """Return the most urgent stage that can begin, and no longer offer it; None when there is none."""
        return heapq.heappop(self._ready)[-1] if self._ready else None

    def offer(self, address: str) -> None:
        """Offer a stage that can begin again, after ``pop``."""
        heapq.heappush(self._ready, (self._urgency[address], address))

    def following(self, chain: Sequence[str]) -> str | None:
        """Return the most urgent waiting stage that needs the last of ``chain``, and nothing else that is missing."""
        ready = [
            other
            for other in self._needed_by[chain[-1]]
            if other in self.waiting
            and all(used in chain for used in self._plan.stages[other].inputs.values() if used in self._undone)
        ]
        return min(ready, key=self._urgency.__getitem__, default=None)

    def begin(self, address: str) -> None:
        """Take note that a stage has begun; until it is done, what needs it waits."""
        del self.waiting[address]

    def finish(self, address: str) -> None:
        """Take note that the result of a stage is there."""
        if address not in self._undone:
            return  # a stage that was waited for again while it ran
        self._undone.remove(address)
        for other in self._needed_by[address]:
            if other in self._lacks:
                self._lacks[other] -= 1
            if self.is_ready(other):
                self.offer(other)

    def add(self, addresses: Iterable[str]) -> None:
        """Wait for these stages again: some that were there are damaged, or one that had begun cannot be done yet."""
        self.waiting |= dict.fromkeys(addresses)
        self._undone |= set(self.waiting)
        self._arrange()

    def _arrange(self) -> None:
        """Find out what every waiting stage lacks."""
        self._ready: list[tuple[tuple[int, int, int], str]] = []
        self._urgency = {address: self._urgency_of(address, place) for place, address in enumerate(self.waiting)}
        self._lacks: dict[str, int] = {}
        for address in self.waiting:
            self._lacks[address] = len(self._undone.intersection(self._plan.stages[address].inputs.values()))
            if self.is_ready(address):
                self.offer(address)

    def _urgency_of(self, address: str, place: int) -> tuple[int, int, int]:
        return min(use.replicate for use in self._plan.stages[address].uses), -self._behind[address], place
