"""C6: the more examples are connected the better, and easy ones connect first."""

from __future__ import annotations

from ticketdiet.paper.claim import Arms, Claim, Question, at
from ticketdiet.paper.claims.c5 import landscape_arms
from ticketdiet.paper.contrasts import example_correlation, rank_correlation
from ticketdiet.paper.setting import Setting


class ConnectedExamplesCount(Claim):
    """The more examples are linearly mode connected, the better the point; easy examples connect first."""

    name = "C6"
    title = "More connected examples, better tickets"
    statement = (
        "The more examples are linearly mode connected among the dense children of a rewinding point, the better its "
        "sparse networks; easy examples connect first."
    )
    children = 2

    def arms(self, setting: Setting) -> Arms:
        """Return rewinding points of every quality."""
        return landscape_arms(setting)

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask for the correlation of the connected fraction across arms, and of barriers with EL2N across examples."""
        level, arms = setting.level(setting.sparse), tuple(landscape_arms(setting))
        early = f"all@{setting.early}"
        return (
            Question(
                f"across {len(arms)} arms, a higher connected fraction goes with a higher accuracy at "
                f"{at(setting, level)}",
                "rank correlation",
                rank_correlation(arms, "connected fraction", level),
            ),
            Question(
                f"across the training examples of {early}, a higher EL2N score goes with a higher barrier",
                "rank correlation",
                example_correlation(early),
            ),
        )
