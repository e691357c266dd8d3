"""Files that a user asked for: folders made on the way, and one message when they cannot be written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticketdiet.core.errors import UserError, shown


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make the folders on the way to ``path``, and say what is wrong when it cannot be written.

    Raises:
        UserError: When the folders, or the file inside the block, cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _refuse_pipe(path)
        yield
    except OSError as error:
        raise UserError(
            f"{shown(os.fspath(path))} cannot be written: {error.strerror or error}.",
            expected="a folder that you may write to, with space left",
            way_out="choose another file, or another folder with --out",
        ) from error


def _refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Refuse a named pipe: opening it would wait for a reader who may never come. The shell's own are fine."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISFIFO(mode) and not os.fspath(path).startswith(("/dev/", "/proc/")):
        raise OSError(errno.EINVAL, "It is a named pipe", os.fspath(path))
