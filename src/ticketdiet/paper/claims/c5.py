"""C5: the barrier among dense children predicts the accuracy of sparse networks."""

from __future__ import annotations

from ticketdiet.paper.claim import Arms, Claim, Question, all_arm, at, none_arm, subset_arm
from ticketdiet.paper.contrasts import rank_correlation, stronger_correlation
from ticketdiet.paper.setting import Setting


def landscape_arms(setting: Setting) -> Arms:
    """Return rewinding points of every quality: no pre-training, all data for every k, and three subsets."""
    early, size = setting.early, setting.size
    arms = none_arm()
    for steps in setting.steps:
        arms |= all_arm(steps)
    arms |= subset_arm(f"random{size}", early, kind="random", size=size)
    for kind in ("easiest", "hardest"):
        arms |= subset_arm(f"{kind}{size}", early, kind=kind, size=size, score="el2n")
    return arms


class BarrierPredictsAccuracy(Claim):
    """The mean barrier of the dense children predicts sparse accuracy, and better than pre-training accuracy does."""

    name = "C5"
    title = "The barrier predicts sparse accuracy"
    statement = (
        "The mean train-loss barrier of the dense children of a rewinding point predicts the accuracy of its sparse "
        "networks, better than the accuracy after pre-training does."
    )
    children = 2

    def arms(self, setting: Setting) -> Arms:
        """Return rewinding points of every quality."""
        return landscape_arms(setting)

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask for the correlation across arms in every replicate, and for the comparison of the two predictors."""
        level, arms = setting.level(setting.sparse), tuple(landscape_arms(setting))
        where = at(setting, level)
        barrier = rank_correlation(arms, "mean barrier", level)
        return (
            Question(
                f"across {len(arms)} arms, a lower mean barrier goes with a higher accuracy at {where} (the rank "
                "correlation, with its sign changed, is above 0)",
                "rank correlation, sign changed",
                lambda rows: -barrier(rows),
            ),
            Question(
                f"the rank correlation with accuracy at {where} is stronger for the mean barrier than for the accuracy "
                "after pre-training",
                "difference of absolute rank correlations",
                stronger_correlation(arms, "mean barrier", "accuracy after pre-training", level),
            ),
        )
