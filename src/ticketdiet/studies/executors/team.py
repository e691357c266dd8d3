"""Several processes on one machine, each with a device of its own, that work one stage after another together.

This process only watches: it hands the stage to every rank and waits for all of them. When a rank dies or fails alone,
the others would wait for it forever, so the whole team is ended. After a death a new one goes on from the last saved
state; what a rank raised is raised here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ticketdiet.studies.context import Context
from ticketdiet.studies.executors.base import Ending, Warnings, WorkerLost
from ticketdiet.studies.executors.children import end_with_parent
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.sent_errors import WorkFailed, sendable
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.work import perform
from ticketdiet.training.distributed import Ranks, joined

MOST_TRIES = 3  # at a stage whose team was lost
SECONDS_TO_AGREE = 10.0  # for the other ranks, after the first has failed
Report = Callable[[str, int], None]
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class _Lost(Exception):
    """A rank ended, or all of them are to end."""


class Team:
    """Works one stage at a time on several devices.

    The ranks are started with the first stage and kept for the next. They find each other by a file, and talk over the
    loopback device alone.

    Args:
        order: How it works, on at least two devices.
    """

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._ranks: dict[Connection, BaseProcess] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    def perform(self, stage: Stage, report: Report) -> Warnings:
        """Work ``stage``; its result is in the store then.

        Args:
            stage: What to work.
            report: Told the address and the steps done, in this thread.

        Returns:
            Warnings for the user.

        Raises:
            TicketDietError: What the stage itself raised.
            WorkerLost: When ranks were lost each time it was tried.
        """
        lost: _Lost | None = None
        for _ in range(MOST_TRIES):
            try:
                return self._try(stage, report)
            except _Lost as error:
                lost = error
                self.end()
                if self._closed:
                    break
        raise WorkerLost(
            f"{stage.label} was not made: {lost}.",
            expected="all devices of a stage to work until it is done",
            way_out="look for a lack of memory or a fault of a device; run it again, and it goes on where it was saved",
        )

    def end(self) -> None:
        """End the ranks at once; the next stage starts new ones."""
        for process in self._ranks.values():
            process.kill()
        for connection, process in self._ranks.items():
            process.join()
            connection.close()
        self._ranks = {}
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def stop(self) -> None:
        """End the ranks from another thread than the one that waits in ``perform``, which then raises."""
        self._closed = True
        for process in list(self._ranks.values()):
            process.kill()

    def _try(self, stage: Stage, report: Report) -> Warnings:
        if not self._ranks and not self._closed:
            self._start()
        if self._closed:  # perhaps while they started, so that nobody has ended them
            raise _Lost("the run ended")
        for connection in self._ranks:
            try:
                connection.send(stage)
            except OSError as error:
                raise _Lost(f"a process of its team ended ({error})") from None
        endings = self._endings(report)
        errors = [ending for ending in endings if isinstance(ending, Exception)]
        if errors:
            if len(endings) < len(self._ranks):
                self.end()  # the others wait for the one that failed
            # A rank that waits in vain for one that has failed fails too, with an error of some library.
            raise min(errors, key=lambda error: isinstance(error, WorkFailed))
        return endings[0]  # type: ignore[return-value]

    def _endings(self, report: Report) -> list[Ending]:
        """Wait for the ranks; what each gave, without those that still wait for one that has failed."""
        found: dict[Connection, Ending] = {}
        patience: float | None = None
        while len(found) < len(self._ranks):
            open_ones = [connection for connection in self._ranks if connection not in found]
            ready = wait_for(open_ones, patience)
            if not ready:
                break
            for connection in open_ones:
                if connection not in ready:
                    continue
                kind, content = self._receive(connection)
                if kind == "step":
                    report(*content)
                    continue
                found[connection] = content
                if kind == "failed":
                    patience = SECONDS_TO_AGREE
        return [found[connection] for connection in self._ranks if connection in found]

    def _receive(self, connection: Connection) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = connection.recv()
        except (EOFError, OSError):
            process = self._ranks[connection]
            process.join(SECONDS_TO_AGREE)
            raise _Lost(f"{process.name} ended with exit code {process.exitcode}") from None
        return message

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory(prefix="ticketdiet-team-", ignore_cleanup_errors=True)
        meeting, count = Path(self._folder.name, "meeting").as_uri(), len(self._order.devices)
        for rank, device in enumerate(self._order.devices):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(Ranks(rank, count), meeting, theirs, self._order.to_text()),
                name=f"rank {rank} on {device}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._ranks[ours] = process


def _serve(ranks: Ranks, meeting: str, stages: Connection, text: str) -> None:
    """What each rank does: work the stages that come, with the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = LOOPBACK
    order = WorkerOrder.of_text(text)
    with joined(ranks, meeting, torch.device(order.devices[ranks.rank])), contextlib.suppress(EOFError):
        context = order.begin(
            ranks.rank, report=lambda stage, step: _tell(stages, stage, step) if ranks.is_first else None
        )
        while True:
            stages.send(_worked(context, stages.recv()))


def _tell(stages: Connection, stage: Stage, step: int) -> None:
    stages.send(("step", (stage.address, step)))


def _worked(context: Context, stage: Stage) -> tuple[str, Any]:
    try:
        return "done", perform(context, stage)
    except Exception as error:
        return "failed", sendable(error)


def teams_of(devices: Sequence[str], per_stage: int, teams: int | None = None) -> list[tuple[str, ...]]:
    """Share out devices among teams.

    Args:
        devices: torch devices; the CPU may be taken as often as wanted.
        per_stage: Devices of each team.
        teams: Number of teams; None for as many as the devices suffice for, one on the CPU.

    Returns:
        Devices of each team; empty when there are too few devices for one.
    """
    if all(device == "cpu" for device in devices):
        return [("cpu",) * per_stage] * (teams or 1)
    whole = [tuple(devices[start : start + per_stage]) for start in range(0, len(devices), per_stage)]
    full = [team for team in whole if len(team) == per_stage]
    return full[:teams]
