"""What the file system raises, as a message that says what to do."""

import errno
import os

import pytest

from ticketdiet.core.errors import StoreError, UserError
from ticketdiet.store.failures import explained, format_bytes
from ticketdiet.store.place import Misplaced


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.ENOSPC, StoreError, r"disk is full: cannot write it at /store\.(.|\n)*3\.2 MB of free space"),
        (errno.EDQUOT, StoreError, "disk is full"),
        (errno.EROFS, UserError, "/store cannot be written"),
        (errno.EIO, StoreError, r"Cannot write it at /store: Input/output error\."),
    ],
)
def test_an_error_of_the_file_system_is_explained(code, kind, says):
    with pytest.raises(kind, match=says), explained("write it", "/store", 3_200_000):
        raise OSError(code, os.strerror(code))


def test_what_does_not_belong_into_a_store_is_named():
    with pytest.raises(StoreError, match=r"tmp is a symbolic link(.|\n)*move it out"), explained("read", "/store"):
        raise Misplaced("tmp is a symbolic link")


def test_other_errors_pass():
    with pytest.raises(KeyError), explained("read", "/store"):
        raise KeyError("x")


def test_bytes_are_written_in_units_of_a_thousand():
    found = [format_bytes(count) for count in (0, 999, 1000, 3_210_000, 5 * 10**9, 7 * 10**15)]
    assert found == ["0 bytes", "999 bytes", "1.0 kB", "3.2 MB", "5.0 GB", "7000.0 TB"]
