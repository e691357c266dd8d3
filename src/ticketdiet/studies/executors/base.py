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
from typing import Protocol, TypeVar, runtime_checkable

from ticketdiet.core.errors import TicketDietError, UserError
from ticketdiet.core.options import Configurable
from ticketdiet.core.registry import Registry
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage, TrainingStage

Warnings = tuple[str, ...]
Ending = Warnings | Exception  # how a stage ended: made, or not
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


@dataclass(frozen=True, eq=False, kw_only=True)
class RunOptions:
    """How a run asks for its work to be divided; what is not asked for is left to the kind of executor.

    Attributes:
        workers: Stages to be worked at once; None for what the kind of executor takes to be best.
        workers_per_device: Stages to be worked at once on each device; None for one.
        devices: Names of torch devices; ``("auto",)`` for what the kind of executor takes to be best.
        devices_per_stage: Devices that work each stage together; None for one.
        threads: Threads of each worker; None for what the kind of executor takes to be best.
    """

    workers: int | None = None
    workers_per_device: int | None = None
    devices: tuple[str, ...] = ("auto",)
    devices_per_stage: int | None = None
    threads: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class RunRequest(RunOptions):
    """What a run asks of the place where its stages are worked.

    Attributes:
        store: Where inputs are read and results kept.
        plan: The stages of the run.
        save_every_seconds: How often the state of a long training is kept.
        report: Is told the steps done of a stage, by executors that work in this process.
    """

    store: ResultStore
    plan: Plan
    save_every_seconds: float = 30.0
    report: Callable[[Stage, int], None] = lambda stage, step: None


Asked = TypeVar("Asked", bound=RunOptions)


class ExecutorKind(Configurable):
    """One sort of executor with its options: what ``--executor`` names. Override ``start``.

    Attributes:
        here: Whether it works on this machine, so that a forecast that is measured here holds.
    """

    kind = "executor"
    here = False

    def completed(self, asked: Asked) -> Asked:
        """Return what a run asks for, completed by what the options say of the rest.

        Args:
            asked: What the command line, or a call, asks for.

        Returns:
            The same, with the options of this executor where nothing is asked for.
        """
        return asked

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


def refuse_uneven(plan: Plan, devices: int) -> None:
    """Refuse batches that the devices of a stage cannot share evenly, before anything is trained.

    Args:
        plan: The stages of a run.
        devices: How many devices work each stage together.

    Raises:
        UserError: When a training has such batches.
    """
    trained = (stage for stage in plan.stages.values() if isinstance(stage, TrainingStage) and stage.cost.steps)
    uneven = sorted({stage.recipe.batch_size for stage in trained if stage.recipe.batch_size % devices})
    if uneven:
        raise UserError(
            f"Got {devices} devices per stage and batches of {', '.join(map(str, uneven))} examples.",
            expected="batch sizes that are multiples of the devices per stage",
            way_out="give another number of --devices-per-stage (for Ray, gpus_per_stage), or another batch_size",
        )


EXECUTORS: Registry[type[ExecutorKind]] = Registry("executor")
