"""How much of a study a store holds: what is missing, what is damaged, and a view of the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from ticketdiet.core.errors import TicketDietError
from ticketdiet.store.findings import Status
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage

DRAWN = ("score", "subset", "barrier")  # kinds of stage whose arrays figures and tables of examples read


class Results(Protocol):
    """What reports ask of a store."""

    @property
    def url(self) -> str:
        """Where it lies."""

    def check(self, address: str) -> Status:
        """Return the status of a result."""

    def has(self, address: str) -> bool:
        """Say whether a result can be read."""

    def tensors(self, address: str, stem: str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return tensors of a result."""

    def document(self, address: str, stem: str) -> Any:
        """Return a document of a result."""


@dataclass(frozen=True, eq=False)
class StudyState:
    """How the stages of a study stand in a store.

    Attributes:
        stages: The stages looked at, by address, in the order of the plan.
        missing: Addresses of those that are not made yet.
        damaged: Address -> what is wrong with the result.
    """

    stages: Mapping[str, Stage]
    missing: tuple[str, ...]
    damaged: Mapping[str, str]

    @cached_property
    def sound(self) -> frozenset[str]:
        """Addresses of the results that can be used."""
        return frozenset(self.stages) - frozenset(self.missing) - frozenset(self.damaged)

    @property
    def is_complete(self) -> bool:
        """Whether every stage is there and sound."""
        return not self.missing and not self.damaged

    def with_damage(self, damage: Mapping[str, str]) -> StudyState:
        """Return the state with damage that reading found."""
        return replace(self, damaged={**self.damaged, **damage})


def study_state(
    plan: Plan, store: ResultStore, *, kinds: Collection[str] = (), whole: Collection[str] = ()
) -> StudyState:
    """Look at every stage of a study.

    Args:
        plan: The study's stages.
        store: Where their results are.
        kinds: Kinds of stage to look at; by default all.
        whole: Kinds of stage of which every byte is checked, because all of it will be read. Of the others sizes and
            times are, and what is read of them is checked when it is read.

    Returns:
        What is missing, damaged and sound.
    """
    stages = {address: stage for address, stage in plan.stages.items() if not kinds or stage.kind in kinds}
    missing: list[str] = []
    damaged: dict[str, str] = {}
    statuses = store.statuses(stages, tolerant=True)
    for address, stage in stages.items():
        status = _inspect(store, address) if stage.kind in whole else statuses[address]
        if status.state == "missing":
            missing.append(address)
        elif status.state == "damaged":
            damaged[address] = status.reason
    return StudyState(stages, tuple(missing), damaged)


def _inspect(store: ResultStore, address: str) -> Status:
    try:
        return store.inspect(address)
    except TicketDietError as error:  # a file that may not be read, for example
        return Status("damaged", error.came.removesuffix("."))


class SoundResults:
    """A store as a state of a study sees it: damaged results are not there, and the others can be read."""

    def __init__(self, store: ResultStore, state: StudyState) -> None:
        self._store, self._state = store, state

    @property
    def url(self) -> str:
        """Where the store lies."""
        return self._store.url

    def check(self, address: str) -> Status:
        """Return the status of a result; one of a stage that the state has not looked at is looked at now."""
        if address not in self._state.stages:
            return self._store.check(address)
        if address in self._state.damaged:
            return Status("damaged", self._state.damaged[address])
        return Status("missing" if address in self._state.missing else "done")

    def has(self, address: str) -> bool:
        """Say whether a result can be read."""
        return self.check(address).state == "done"

    def tensors(self, address: str, stem: str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return tensors of a result, as :meth:`ResultStore.tensors` does."""
        return self._store.tensors(address, stem, names)

    def document(self, address: str, stem: str) -> Any:
        """Return a document of a result, as :meth:`ResultStore.document` does."""
        return self._store.document(address, stem)
