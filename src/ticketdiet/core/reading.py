"""Reading files that a user names: only regular files of limited size, so that no reading waits forever."""

from __future__ import annotations

import errno
import io
import os
import stat

# The ways in which a shell hands over a pipe; there, waiting for the other end is what the user wants.
_HANDED_OVER = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file for reading, and refuse pipes, devices and folders without waiting for them.

    Args:
        path: The file.

    Returns:
        The open file, in binary mode.

    Raises:
        IsADirectoryError: When it is a folder.
        OSError: When it cannot be opened, or is not a regular file.
        ValueError: When ``path`` contains a null character.
    """
    # Non-blocking, because opening a pipe that nobody writes to would wait forever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_text(path: str | os.PathLike[str], *, most_bytes: int) -> str:
    """Read a text in UTF-8, from a regular file or from a pipe that the shell handed over (``<(...)``, ``/dev/stdin``).

    Args:
        path: The file or pipe.
        most_bytes: Largest size that is read.

    Returns:
        The whole text.

    Raises:
        OSError: When it cannot be read, or has more than ``most_bytes``.
        ValueError: When it is not UTF-8, or ``path`` contains a null character.
    """
    handed_over = os.fspath(path).startswith(_HANDED_OVER)
    with open(path, "rb") if handed_over else open_regular(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"It has more than {most_bytes:,} bytes", os.fspath(path))
    return data.decode("utf-8")


def reason_of(error: Exception) -> str:
    """Say why numpy refused a file, without its advice to unpickle it."""
    return "it contains pickled objects, or is not a numpy file at all" if "pickle" in str(error) else str(error)
