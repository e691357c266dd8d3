"""Where files of the user's own machine lie."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Folder of what can be made again: ``TICKETDIET_CACHE``, or ``~/.cache/ticketdiet``."""
    chosen = os.environ.get("TICKETDIET_CACHE") or Path.home() / ".cache" / "ticketdiet"
    return Path(os.path.expanduser(chosen)).absolute()
