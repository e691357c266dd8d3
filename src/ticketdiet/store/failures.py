"""The border to the operating system: an ``OSError`` becomes a message that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ticketdiet.core.errors import StoreError, UserError
from ticketdiet.store.place import Misplaced

FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def explained(action: str, where: str, bytes_needed: int = 0) -> Iterator[None]:
    """Translate what the file system raises inside the block.

    Args:
        action: What was being done, as in "cannot <action>".
        where: Path or URL it was done to.
        bytes_needed: Size of what was to be written; named when the disk is full.

    Raises:
        UserError: When the place may not be written.
        StoreError: For a full disk, a link or a device in the store, and everything else.
    """
    try:
        yield
    except Misplaced as error:
        raise StoreError(
            f"cannot {action} at {where}: {error}.",
            expected="folders and plain files; the whole store may lie behind a link, but nothing in it",
            way_out="move that out of the store, or put what it points to in its place, and run again",
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                f"disk full: cannot {action} at {where}.",
                expected=f"{format_bytes(bytes_needed)} of free space for this result",
                way_out="free some space (`ticketdiet gc` helps) or give another --store, and run again; "
                "finished results are kept",
            ) from error
        if error.errno in REFUSED:
            raise unwritable(where, error) from error
        raise StoreError(
            f"cannot {action} at {where}: {error.strerror or error}.",
            way_out="check the file system or the connection, and run again; finished results are kept",
        ) from error


def unwritable(where: str, error: OSError) -> UserError:
    """Make the error for a store that may not be written."""
    return UserError(
        f"the store at {where} cannot be written: {error.strerror or error}.",
        expected="a folder or URL that you may write to",
        way_out="change its permissions (chmod u+rwX), or choose another place with --store",
    )


def format_bytes(count: int) -> str:
    """Write a number of bytes for people, as in "3.2 MB"."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
