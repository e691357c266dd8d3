"""``run --detach``: the same command once more, in a session of its own that outlives the terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import typer

from ticketdiet.core.errors import TicketDietError
from ticketdiet.core.folders import user_logs
from ticketdiet.store.presence import LOG_VARIABLE

OPTION = "--detach"
SECONDS_TO_FAIL = 1.0  # an error right at the start is shown at once


class NotStarted(TicketDietError):
    """A detached run ended at once."""


def start_detached(arguments: Sequence[str], study: str, options: Sequence[str]) -> None:
    """Start the command of this process again without its terminal, and say how to watch and stop it.

    Args:
        arguments: Of the command, ``--detach`` among them.
        study: Name of the study.
        options: What says to another command which study this is, and where its results go.

    Raises:
        NotStarted: When it ends at once with an error.
    """
    log = _new_log(study)
    command = [sys.executable, "-m", "ticketdiet", *(one for one in arguments if one != OPTION)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {LOG_VARIABLE: str(log)},
        )
    try:
        code = process.wait(SECONDS_TO_FAIL)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it goes on, and nobody here waits for it
        typer.echo(f"{study} runs on as process {process.pid}. Its output goes to {log}.")
        typer.echo(f"  watch: ticketdiet status {shlex.join(options)} --watch")
        typer.echo(f"  stop:  ticketdiet cancel {shlex.join(options)}")
        return
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    if code:
        raise NotStarted(f"The run ended at once with exit code {code}:\n{said}", way_out=f"the whole log is {log}")
    typer.echo(said)


def _new_log(study: str) -> Path:
    folder = user_logs()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{study}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
