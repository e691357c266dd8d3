"""Calls of a remote file system: what passes is tried again, and what stays is an ``OSError`` in plain words.

Clients of object stores raise exceptions of their own, which are told by name here, so that none of them is imported.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

TRIES = 6
TRIES_AT_FIRST = 2  # before the server has answered once: a wrong name shall not take a minute
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds; doubled from one try to the next
TOGETHER = 64  # objects that are read at the same time
PASSING = {
    errno.EBUSY,  # s3fs: SlowDown, ServiceUnavailable
    getattr(errno, "EREMOTEIO", errno.EIO),  # s3fs: InternalError
    errno.EAGAIN,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}
PASSING_CLASSES = {
    "HTTPClientError",  # botocore: lost connections and timeouts
    "EndpointConnectionError",
    "IncompleteReadError",
    "ResponseParserError",
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",
    "SSHException",  # paramiko
}
REFUSING_CLASSES = {
    "NoCredentialsError",  # botocore
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "SSOError",
    "DefaultCredentialsError",  # google.auth
    "RefreshError",
    "AuthenticationException",  # paramiko
}


class Remote:
    """A remote file system of fsspec whose methods are called by name.

    Args:
        filesystem: The file system.
        pause: Function that waits a number of seconds.
    """

    def __init__(self, filesystem: Any, pause: Callable[[float], None] = time.sleep) -> None:
        self._files, self._pause = filesystem, pause
        self._has_answered = False
        # s3fs asks for the size first when it may read an object in several parts.
        self._whole = {"max_concurrency": 1} if protocols_of(filesystem) & {"s3", "s3a"} else {}
        self._together = {**self._whole, "batch_size": TOGETHER} if getattr(filesystem, "async_impl", False) else {}

    def __call__(self, method: str, *args: Any, **options: Any) -> Any:
        """Call the method of the file system that has this name, as ``attempt`` does."""
        return self.attempt(lambda: getattr(self._files, method)(*args, **options))

    def attempt(self, work: Callable[[], Any]) -> Any:
        """Do some work with the file system, several times where its failures may pass.

        Args:
            work: Does it; it may be called again from the start.

        Returns:
            What the work returns.

        Raises:
            OSError: When it fails; for an exception of the client, one with the same words.
        """
        pauses = self._pauses()
        while True:
            try:
                found = work()
            except Exception as error:
                failure, passes = as_os_error(error), may_pass(error)
                wait = next(pauses, None) if passes else None
                self._has_answered |= not passes
                if wait is None:
                    raise failure from (error if failure is not error else error.__cause__)
                self._pause(wait)
            else:
                self._has_answered = True
                return found

    def content(self, path: str) -> bytes:
        """Read an object with one request."""
        return bytes(self("cat_file", path, **self._whole))

    def contents(self, paths: Sequence[str]) -> list[bytes | OSError]:
        """Read objects, many at the same time where the file system can.

        Args:
            paths: Their full paths.

        Returns:
            For each path its content, or why it cannot be read.
        """
        found: dict[str, bytes | OSError] = {}
        left, pauses = list(paths), self._pauses()
        while True:
            passing = []
            for path, content in zip(left, self._read_once(left), strict=True):
                found[path] = content if isinstance(content, bytes) else as_os_error(content)
                if isinstance(content, Exception) and may_pass(content):
                    passing.append(path)
            wait = next(pauses, None) if passing else None
            if wait is None:
                return [found[path] for path in paths]
            left = passing
            self._pause(wait)

    def _read_once(self, paths: Sequence[str]) -> list[bytes | Exception]:
        if not paths:
            return []
        try:
            contents = self._files.cat_ranges(list(paths), None, None, on_error="return", **self._together)
        except Exception as error:
            return [error] * len(paths)
        self._has_answered = True
        return [content if isinstance(content, Exception) else bytes(content) for content in contents]

    def _pauses(self) -> Iterator[float]:
        tries = TRIES if self._has_answered else TRIES_AT_FIRST
        return (min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(tries - 1))


def protocols_of(filesystem: Any) -> set[str]:
    """Return the names of the protocol of a file system."""
    protocol = filesystem.protocol
    return set(protocol if isinstance(protocol, tuple | list) else (protocol,))


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later: lost connections, timeouts, throttling, errors inside the server."""
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno in PASSING:
        return True
    return bool(_names(error) & PASSING_CLASSES)


def as_os_error(error: Exception) -> OSError:
    """Return ``error`` where it is an ``OSError``, and otherwise one that says the same."""
    if isinstance(error, OSError):
        return error
    words = " ".join(str(error).split()) or type(error).__name__
    if _names(error) & REFUSING_CLASSES:
        return PermissionError(errno.EACCES, words)
    return OSError(errno.EIO, f"{type(error).__name__}: {words}")


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
