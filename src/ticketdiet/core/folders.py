"""Where files of the user's own machine lie."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """Folder of what can be made again: ``TICKETDIET_CACHE``, or ``~/.cache/ticketdiet``."""
    chosen = os.environ.get("TICKETDIET_CACHE") or Path.home() / ".cache" / "ticketdiet"
    return Path(os.path.expanduser(chosen)).absolute()


def user_settings() -> Path:
    """Folder of what the user has written: ``ticketdiet`` in ``XDG_CONFIG_HOME``, or ``~/.config/ticketdiet``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ticketdiet"


def user_logs() -> Path:
    """Folder of logs: ``ticketdiet/logs`` in ``XDG_STATE_HOME``, or ``~/.local/state/ticketdiet/logs``."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ticketdiet" / "logs"
