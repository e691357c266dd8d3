"""Writing files that a user asked for: missing folders are made, and one message says why a file cannot be written."""

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
    """Make the folders above ``path``, and explain an error that is raised while it is written.

    Args:
        path: The file that the block writes.

    Yields:
        Nothing; the file is written inside the block.

    Raises:
        UserError: When the folders, or the file inside the block, cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _refuse_pipe(path)
        yield
    except OSError as error:
        raise UserError(
            f"The file {shown(os.fspath(path))} cannot be written: {error.strerror or error}.",
            expected="a folder that you may write to, with space left",
            way_out="choose another file, or another folder with --out",
        ) from error


def _refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Refuse a named pipe, because opening it may wait forever for a reader; the pipes of the shell are fine."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISFIFO(mode) and not os.fspath(path).startswith(("/dev/", "/proc/")):
        raise OSError(errno.EINVAL, "It is a named pipe", os.fspath(path))
