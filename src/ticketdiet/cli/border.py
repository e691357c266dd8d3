"""Where what goes wrong becomes a message and an exit code, and where arguments and output are made fit for use.

Errors of this package explain themselves. Of others only those are translated that name a file of the user's, or that
say that the output cannot be written; everything else is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from ticketdiet.core.errors import TicketDietError, UserError, shown

MOST_CHARACTERS_OF_A_LINE = 2000
_OWN_VARIABLES = "TICKETDIET_"
# A name that cannot be used, a place that may not be, a full disk: what the user can put right.
_OF_PLACES = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENXIO, errno.ENODEV),
}
_OF_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # without the name of a file


def check_arguments(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse text that no file name and no message can hold.

    Raises:
        UserError: For an argument, or a variable of this package, that is not UTF-8 or holds a null character.
    """
    named = {f"argument {number}": text for number, text in enumerate(arguments, start=1)}
    named |= {name: text for name, text in environment.items() if name.startswith(_OWN_VARIABLES)}
    for what, text in named.items():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"{what} is not UTF-8: {shown(text)}.",
                expected="text in UTF-8, file names included",
                way_out="rename the file, or reach it through a link with another name",
            ) from None
        if "\0" in text:
            raise UserError(f"{what} holds a null character: {shown(text)}.", expected="text", way_out="leave it out")


def prepare_output() -> None:
    """Make output that cannot fail for a character that the terminal lacks, or because a stream was closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this; a file opened later must not take its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def exit_code_of(error: Exception) -> int | None:
    """Say on standard error what went wrong, and return the exit code; None when it is no error of a user's."""
    if isinstance(error, TicketDietError):
        _say(str(error))
        return error.exit_code
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if error.filename is None and error.errno in _OF_OUTPUT:
        forsake_output()
        _say(f"the output cannot be written: {error.strerror}.")
        return 1
    if error.errno not in _OF_PLACES or not _is_of_user(error.filename):
        return None
    _say(str(_about_place(error)))
    return UserError.exit_code


def forsake_output() -> None:
    """Send what is left of the output nowhere, so that nothing complains when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _about_place(error: OSError) -> UserError:
    return UserError(
        f"{shown(os.fsdecode(error.filename))} cannot be used: {error.strerror or error}.",
        expected="a place that exists and that you may read, or write to where something is written",
        way_out="check its name, its permissions and the space left, or name another one",
    )


def _is_of_user(filename: object) -> bool:
    """Say whether a file that an error names is none of this package or its libraries."""
    if not isinstance(filename, str | bytes | os.PathLike):
        return False
    place = os.path.abspath(os.fsdecode(filename))
    installed = (Path(__file__).parents[1], Path(typer.__file__).parents[1], Path(os.__file__).parent)
    return not any(Path(place).is_relative_to(folder) for folder in installed)


def _say(message: str) -> None:
    lines = "\n".join(map(_cut, message.splitlines()))
    typer.echo(f"error: {lines}", err=True)


def _cut(line: str) -> str:
    half = MOST_CHARACTERS_OF_A_LINE // 2
    return line if len(line) <= MOST_CHARACTERS_OF_A_LINE else f"{line[:half]} ... {line[-half:]}"
