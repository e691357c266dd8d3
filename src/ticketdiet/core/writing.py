"""Files that a user asked for: folders made on the way, and one message when they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ticketdiet.core.errors import UserError


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make the folders on the way to ``path``, and say what is wrong when it cannot be written.

    Raises:
        UserError: When the folders, or the file inside the block, cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}.",
            expected="a folder that you may write to, with space left",
            way_out="choose another file",
        ) from error
