"""Python's cyclic garbage collector, paused while many objects are made that stay.

It looks at all objects again whenever a number of new ones was made. While a plan of thousands of stages is made or
read, nothing of it is garbage, and looking took a third of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Make objects that stay, without the cyclic collector; reference counts free the others as ever."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
