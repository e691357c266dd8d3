"""Which code a process runs: workers elsewhere that run other code than the run itself are refused before any work."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable

from ticketdiet.core.errors import UserError

_SOURCES = (".py", ".cpp", ".h", ".yaml")


@cache
def code_version() -> str:
    """Return the version of this package and a digest of its sources: ``"0.1.0 (3f2a91c07b54)"``."""
    digest = hashlib.sha256()
    for path, file in sorted(_files(resources.files("ticketdiet"), "")):
        digest.update(f"{path}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return f"{metadata.version('ticketdiet')} ({digest.hexdigest()[:12]})"


def require_code(version: str, where: str) -> None:
    """Refuse to work for a run of other code.

    Args:
        version: What :func:`code_version` gave in the process of the run.
        where: This worker, for the message.

    Raises:
        UserError: When this process runs other code.
    """
    compare_code(worker=code_version(), run=version, where=where)


def compare_code(*, worker: str, run: str, where: str) -> None:
    """Refuse a worker whose code is not that of the run.

    Args:
        worker: What :func:`code_version` gave there.
        run: What it gave in the process of the run.
        where: The worker, for the message.

    Raises:
        UserError: When they differ.
    """
    if worker != run:
        raise UserError(
            f"The worker on {where} has ticketdiet {worker}, and the run has {run}.",
            expected="the same version and the same sources of ticketdiet on every machine of a run",
            way_out="install the same version there, or use one environment on a file system that all machines share",
        )


def _files(folder: Traversable, path: str) -> list[tuple[str, Traversable]]:
    found = []
    for entry in folder.iterdir():
        inner = f"{path}/{entry.name}"
        if entry.is_dir():
            found += [] if entry.name == "__pycache__" else _files(entry, inner)
        elif entry.name.endswith(_SOURCES):
            found.append((inner, entry))
    return found
