"""The barrier up to which an example counts as connected, where nothing else is asked for. Imports nothing heavy."""

from __future__ import annotations

DEFAULT_TOLERANCE = 0.1  # nats
