"""All scores by name: importing this module makes those of the package known."""

from __future__ import annotations

from ticketdiet.scores import dynamics, el2n, given, grand, prototype
from ticketdiet.scores.base import SCORES, Score

FAMILIES = (dynamics, el2n, given, grand, prototype)


def score_names() -> list[str]:
    """Names of all scores, those of other packages included, sorted."""
    return SCORES.names()


def find_score(name: str) -> Score:
    """Return the score called ``name``.

    Raises:
        UnknownName: When there is none; the message lists those there are.
    """
    return SCORES.get(name)()
