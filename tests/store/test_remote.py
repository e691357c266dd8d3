"""Calls of remote file systems: what passes is tried again, and every failure is an ``OSError`` with its words."""

import errno

import pytest

from ticketdiet.store.remote import TRIES, TRIES_AT_FIRST, Remote, as_os_error, may_pass


class HTTPClientError(Exception):
    """Named as that of botocore, which is told by its name."""


class ReadTimeoutError(HTTPClientError):
    pass


class NoCredentialsError(Exception):
    pass


class Files:
    """A file system that fails as it is told."""

    protocol = "tests"

    def __init__(self, *failures):
        self.failures = list(failures)

    def cat_file(self, path):
        if self.failures:
            raise self.failures.pop(0)
        return path.encode()

    def cat_ranges(self, paths, starts, ends, on_error):
        assert (starts, ends, on_error) == (None, None, "return")
        return [self.failures.pop(0) if self.failures else path.encode() for path in paths]


@pytest.fixture
def pauses():
    return []


@pytest.mark.parametrize(
    "error", [TimeoutError(), ConnectionResetError(), OSError(errno.EBUSY, "Slow down"), ReadTimeoutError()]
)
def test_what_passes_is_tried_again(error, pauses):
    assert may_pass(error)
    assert Remote(Files(error), pauses.append)("cat_file", "x") == b"x"
    assert len(pauses) == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), PermissionError("x"), OSError(errno.EINVAL, "x"), NoCredentialsError()]
)
def test_what_stays_is_raised_at_once(error, pauses):
    assert not may_pass(error)
    with pytest.raises(OSError):  # noqa: PT011
        Remote(Files(error), pauses.append)("cat_file", "x")
    assert pauses == []


def test_a_server_that_has_answered_is_given_more_time_than_one_that_never_did(pauses):
    files = Files(*[TimeoutError()] * 100)
    remote = Remote(files, pauses.append)
    with pytest.raises(TimeoutError):
        remote("cat_file", "x")
    assert pauses == [0.5]
    assert len(pauses) == TRIES_AT_FIRST - 1
    files.failures = [FileNotFoundError("x")]
    with pytest.raises(FileNotFoundError):
        remote("cat_file", "x")
    files.failures, pauses[:] = [TimeoutError()] * 100, []
    with pytest.raises(TimeoutError):
        remote("cat_file", "x")
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert len(pauses) == TRIES - 1


def test_of_many_only_what_failed_is_read_again(pauses):
    files = Files(TimeoutError(), FileNotFoundError("b"))
    found = Remote(files, pauses.append).contents(["a", "b", "c"])
    assert (found[0], found[2]) == (b"a", b"c")
    assert isinstance(found[1], FileNotFoundError)
    assert pauses == [0.5]


def test_a_failure_of_all_is_the_failure_of_each(pauses):
    class Broken(Files):
        def cat_ranges(self, paths, starts, ends, on_error):
            raise NotImplementedError("not here")

    found = Remote(Broken(), pauses.append).contents(["a", "b"])
    assert [str(error) for error in found] == ["[Errno 5] NotImplementedError: not here"] * 2


def test_the_words_of_a_client_become_those_of_an_os_error():
    assert isinstance(as_os_error(NoCredentialsError("Unable to locate credentials")), PermissionError)
    assert as_os_error(ReadTimeoutError("read\n timed out")).strerror == "ReadTimeoutError: read timed out"
    known = FileNotFoundError("x")
    assert as_os_error(known) is known
