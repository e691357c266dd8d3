"""The barrier up to which an example counts as connected. Study files are checked with it, so it imports no torch."""

from __future__ import annotations

from ticketdiet.core.errors import UserError

DEFAULT_TOLERANCE = 0.1  # nats


def check_tolerance(tolerance: float) -> float:
    """Return ``tolerance`` if a barrier can be compared with it.

    Args:
        tolerance: In nats.

    Returns:
        The same number.

    Raises:
        UserError: When it is negative or not a number.
    """
    if not tolerance >= 0:
        raise UserError(
            f"The tolerance is {tolerance}.",
            expected="a number of nats, at least 0",
            way_out=f"{DEFAULT_TOLERANCE:g} is the usual one",
        )
    return tolerance
