"""What processes that this one starts have in common, whether they work alone or in teams."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from multiprocessing.connection import wait as wait_for
from typing import Any

from ticketdiet.studies.executors.base import Progress


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_await_and_end, args=(parent.sentinel,), daemon=True).start()


def _await_and_end(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def drained(reports: Any) -> list[Progress]:
    """Return what is in a queue of threads or processes now; nothing when it is closed."""
    found: list[Progress] = []
    try:
        while True:
            found.append(reports.get_nowait())
    except (queue.Empty, OSError, ValueError):
        return found
