"""The scores that are known by name."""

from __future__ import annotations

import pytest

from ticketdiet.core.errors import UnknownName
from ticketdiet.core.values import Images
from ticketdiet.scores.base import SCORES
from ticketdiet.scores.catalog import score_names
from ticketdiet.scores.driver import score_with_model

NAMES = "aum barrier confidence el2n entropy file forgetting grand grand_last loss margin prototype random variance"


def test_all_scores_are_listed_by_name() -> None:
    assert " ".join(score_names()) == NAMES


def test_every_score_says_which_way_it_points() -> None:
    for name in score_names():
        assert any(word in (SCORES.get(name).__doc__ or "") for word in ("means hard", "mean hard", "nothing is hard"))


def test_an_unknown_score_lists_the_known_ones(images: Images) -> None:
    with pytest.raises(UnknownName, match="el2n"):
        score_with_model("eln2", None, images)
