"""Where stages are worked: the one seam between a run and processes, a cluster, or whatever another package brings.

A run gives ready stages to an :class:`Executor`, which works them somewhere. An :class:`ExecutorKind` holds the options
of one sort of executor and starts it; the kinds are registered under names, and another package adds one with
``EXECUTORS.register(name)`` or an entry point in the group ``ticketdiet.executors``. Nothing here can change a number,
so that none of it enters the address of a result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ticketdiet.core.errors import TicketDietError
from ticketdiet.core.options import Configurable
from ticketdiet.core.registry import Registry
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage

Warnings = tuple[str, ...]
Progress = tuple[str, int]  # address, steps done


class NotBegun(Exception):
    """A stage was given back untouched, because one before it in its chain could not be made."""


class WorkerLost(TicketDietError):
    """A process or job that worked a stage ended without a result or a reason, each time it was tried."""


class Executor(Protocol):
    """Works stages somewhere."""

    @property
    def capacity(self) -> int:
        """Stages that can be worked, or wait for a worker, at once; it may change while a run goes on."""
        ...

    def submit(self, stage: Stage) -> Future[Warnings]:
        """Begin ``stage``; the future gives its warnings when its result is in the store."""
        ...

    def progress(self) -> list[Progress]:
        """Return the steps reported since the last call; called several times a second while stages are worked."""
        ...

    def close(self, *, now: bool = False) -> None:
        """Wait for what runs and end; with ``now``, end at once (the store survives that)."""
        ...


@runtime_checkable
class ChainExecutor(Executor, Protocol):
    """An executor that also takes stages which need each other, to work them one after another in one place.

    Attributes:
        longest_chain: Most stages of a chain.
    """

    longest_chain: int

    def submit_chain(self, stages: Sequence[Stage]) -> list[Future[Warnings]]:
        """Begin stages of which each needs, beside what is in the store, only those before it.

        Returns:
            One future a stage; that of a stage which was not tried because one before it failed raises ``NotBegun``.
        """
        ...


@dataclass(frozen=True, eq=False)
class RunRequest:
    """What a run asks of the place where its stages are worked.

    Attributes:
        store: Where inputs are read and results kept.
        plan: The stages of the run.
        workers: Stages to be worked at once; None for what the kind of executor takes to be best.
        workers_per_device: Stages to be worked at once on each device; None for one.
        devices: Names of torch devices; ``("auto",)`` for what the kind of executor takes to be best.
        devices_per_stage: Devices that work each stage together; None for one.
        threads: Threads of each worker; None for what the kind of executor takes to be best.
        save_every_seconds: How often the state of a long training is kept.
        report: Is told the steps done of a stage, by executors that work in this process.
    """

    store: ResultStore
    plan: Plan
    workers: int | None = None
    workers_per_device: int | None = None
    devices: tuple[str, ...] = ("auto",)
    devices_per_stage: int | None = None
    threads: int | None = None
    save_every_seconds: float = 30.0
    report: Callable[[Stage, int], None] = lambda stage, step: None


class ExecutorKind(Configurable):
    """One sort of executor with its options: what ``--executor`` names. Override ``start``.

    Attributes:
        here: Whether it works on this machine, so that a forecast that is measured here holds.
    """

    kind = "executor"
    here = False

    def check(self, request: RunRequest) -> None:
        """Refuse what cannot work, before anything is written; called for every run, also when nothing is left to do.

        Args:
            request: What the run asks for.

        Raises:
            UserError: When the executor cannot be started as asked.
        """

    @abstractmethod
    def start(self, request: RunRequest) -> Executor:
        """Start an executor for one run.

        Args:
            request: What the run asks for.

        Returns:
            The executor; the run closes it.

        Raises:
            UserError: When it cannot be started as asked; no stage was begun.
        """


EXECUTORS: Registry[type[ExecutorKind]] = Registry("executor")
