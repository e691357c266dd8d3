"""All scores by name: importing this module makes those of the package known."""

from __future__ import annotations

from ticketdiet.scores import dynamics, el2n, given, grand, prototype
from ticketdiet.scores.base import SCORES, Score

FAMILIES = (dynamics, el2n, given, grand, prototype)


def score_names() -> list[str]:
    """Return the names of all scores, those of other packages included, sorted."""
    return SCORES.names()


def find_score(name: str) -> Score:
    """Return a new instance of the score that is called ``name``.

    Args:
        name: One of ``score_names()``.

    Returns:
        The score.

    Raises:
        UnknownName: When there is none; the message lists the known names.
    """
    return SCORES.get(name)()
