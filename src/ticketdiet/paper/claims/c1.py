"""C1: pre-training is needed, and a few hundred steps are enough."""

from __future__ import annotations

from ticketdiet.paper.claim import MATCHING_MARGIN, Arms, Claim, Question, all_arm, at, is_above, none_arm
from ticketdiet.paper.contrasts import accuracy_difference
from ticketdiet.paper.setting import Setting


class PreTrainingIsNeeded(Claim):
    """From the initial weights IMP fails; after a few hundred steps of pre-training it finds matching networks."""

    name = "C1"
    title = "Pre-training is needed"
    statement = (
        "From its initial weights, iterative magnitude pruning finds no sparse network as accurate as the dense one; "
        "after a few hundred steps of pre-training it does, to about 10 % density."
    )

    def arms(self, setting: Setting) -> Arms:
        """Return no pre-training, and all data for every k."""
        arms = none_arm()
        for steps in setting.steps:
            arms |= all_arm(steps)
        return arms

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask whether pre-training helps, whether the sparse network matches with it, and fails without it."""
        late, level = f"all@{setting.late}", setting.level(setting.matching)
        where, margin = at(setting, level), MATCHING_MARGIN
        return (
            is_above(setting, level, late, "none@0"),
            Question(
                f"{late} at {where} is less than {margin:g} below its dense network",
                "test accuracy",
                accuracy_difference(late, level, late, 0),
                above=-margin,
            ),
            Question(
                f"the dense network of none@0 is more than {margin:g} above its sparse network at {where}",
                "test accuracy",
                accuracy_difference("none@0", 0, "none@0", level),
                above=margin,
            ),
        )
