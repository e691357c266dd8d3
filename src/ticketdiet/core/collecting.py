"""Python's cyclic garbage collector, paused while many objects are made that stay.

It looks at all objects again whenever a number of new ones was made. While a plan of thousands of stages is made or
read, nothing of it is garbage, and looking took a third of the time. Importing PyTorch leaves 190 000 objects that stay
until the process ends; each look at all of them takes a twentieth of a second.
"""

from __future__ import annotations

import gc
import sys
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


@contextmanager
def importing() -> Iterator[None]:
    """Import modules without the collector, and keep it from looking at them, and at all that is there by then, again.

    Where all of them are imported already, nothing changes. For programs only: a library that does this decides it for
    whoever imports it.
    """
    known = len(sys.modules)
    with without_collector():
        yield
        if len(sys.modules) > known:
            gc.freeze()  # before the collector is on again, which then looks at once
