"""Errors of file systems: an ``OSError`` becomes a message that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ticketdiet.core.errors import StoreError, TicketDietError, UserError, shown
from ticketdiet.store.place import Misplaced

FULL = {errno.ENOSPC, errno.EDQUOT}
# Of a name that is too long, or that leads through something that is no folder.
NO_FOLDER = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def explained(action: str, where: str, bytes_needed: int = 0) -> Iterator[None]:
    """Translate what the file system raises inside the block.

    Args:
        action: What the block does, as in "Cannot <action>".
        where: Path or URL of the store.
        bytes_needed: Size of what the block writes; the message names it when the disk is full.

    Yields:
        Nothing; the block does the action.

    Raises:
        UserError: When the place may not be written.
        StoreError: When the disk is full, there is a link or a device in the store, or the file system fails.
    """
    try:
        yield
    except Misplaced as error:
        raise StoreError(
            f"Cannot {action} at {where}: {error}.",
            expected="folders and plain files; a link may lead to the store, but there may be none inside it",
            way_out="move it out of the store, or replace it by what it points to, and run again",
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                f"The disk is full: cannot {action} at {where}.",
                expected=f"{format_bytes(bytes_needed)} of free space for this result",
                way_out="free some space (`ticketdiet gc` helps) or choose another --store, and run again; "
                "finished results are kept",
            ) from error
        if isinstance(error, PermissionError) or error.errno in REFUSED:
            refused = not_allowed(action, where, error) if is_url(where) else unwritable(where, error)
            raise refused from error
        raise StoreError(
            f"Cannot {action} at {where}: {_words(error)}.",
            way_out="check the file system or the connection, and run again; finished results are kept",
        ) from error


@contextmanager
def naming(url: str) -> Iterator[None]:
    """Translate what happens inside the block because of the name of a store.

    Args:
        url: What the user named.

    Raises:
        UserError: When it cannot be the name of a store, or whatever the URL leads to refuses it.
    """
    try:
        yield
    except Exception as error:
        is_foreign = is_url(url) and not isinstance(error, TicketDietError)
        if not (is_foreign or _is_of_name(error)):
            raise
        reason = error.__cause__ or error
        raise UserError(
            f"The store {shown(url)} cannot be opened: {getattr(reason, 'strerror', None) or reason!r}.",
            expected="a folder, or a URL of a protocol that fsspec knows, with what it needs to be reached",
            way_out="correct --store or TICKETDIET_STORE",
        ) from error


def _is_of_name(error: BaseException) -> bool:
    cause = error.__cause__ if isinstance(error, StoreError) else error
    return isinstance(cause, OSError) and cause.errno in NO_FOLDER


def unwritable(where: str, error: OSError) -> UserError:
    """Make the error for a store that may not be written."""
    if isinstance(error, PermissionError) and is_url(where):
        return not_allowed("write", where, error)
    if isinstance(error, FileNotFoundError) and is_url(where):
        return UserError(
            f"The store at {where} cannot be written: {_words(error)}.",
            expected="a bucket or folder that exists; only what lies in it is made",
            way_out="make the bucket first, or correct the name after --store",
        )
    return UserError(
        f"The store at {where} cannot be written: {_words(error)}.",
        expected="a folder or URL that you may write to",
        way_out="change its permissions (chmod u+rwX), or choose another place with --store",
    )


def not_allowed(action: str, where: str, error: OSError) -> UserError:
    """Make the error for a remote store that refuses who asks."""
    return UserError(
        f"The server of {where} refuses to {action}: {_words(error)}.",
        expected="credentials that may list, read, write and delete there, and a clock that is right",
        way_out="check the credentials (for s3:// AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and the "
        "policy of the bucket",
    )


def is_url(name: str) -> bool:
    """Whether the name of a store is a URL and not a folder."""
    return "://" in name or "::" in name


def _words(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).removesuffix(".")


def format_bytes(count: int) -> str:
    """Write a number of bytes for people, as in "3.2 MB"."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
