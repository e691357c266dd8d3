"""Ctrl-C and SIGTERM: every command ends with exit code 1 and says what has become of its work."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup


class StoppableGroup(TyperGroup):
    """Commands that end with one line on Ctrl-C; by itself typer ends with code 130 and without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _stop("Stopped.")


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, and on either say how the work of these lines goes on."""
    try:
        with _sigterm_like_ctrl_c():
            yield
    except KeyboardInterrupt:
        _stop(
            "Stopped. Finished stages are kept, and long trainings go on from their last saved state: "
            "run the same command again."
        )


def _stop(message: str) -> NoReturn:
    typer.echo(f"\n{message}", err=True)  # below the ^C of the terminal
    raise typer.Exit(1) from None


@contextlib.contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no handler can be installed there
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
