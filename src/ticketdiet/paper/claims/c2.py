"""C2: a small random subset is enough."""

from __future__ import annotations

from ticketdiet.paper.claim import MARGIN, Arms, Claim, Question, all_arm, at, none_arm, subset_arm
from ticketdiet.paper.contrasts import accuracy_difference
from ticketdiet.paper.setting import Setting


class RandomSubsetIsEnough(Claim):
    """At equal k, a small random subset pre-trains as well as all data."""

    name = "C2"
    title = "A small random subset is enough"
    statement = "At the same number of steps, pre-training on a small random subset is as good as on all data."

    def arms(self, setting: Setting) -> Arms:
        """Return random subsets of every size beside all data."""
        arms = none_arm() | all_arm(setting.early) | all_arm(setting.late)
        for size in sorted({setting.size, *setting.sizes}):
            arms |= subset_arm(f"random{size}", setting.early, kind="random", size=size)
        return arms

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask whether the random subset is no worse than all data, and better than no pre-training."""
        level, every = setting.level(setting.sparse), f"all@{setting.early}"
        drawn, where = f"random{setting.size}@{setting.early}", at(setting, level)
        return (
            Question(
                f"{drawn} is less than {MARGIN:g} below {every} at {where}",
                "test accuracy",
                accuracy_difference(drawn, level, every, level),
                above=-MARGIN,
            ),
            Question(
                f"{drawn} is above none@0 at {where}",
                "test accuracy",
                accuracy_difference(drawn, level, "none@0", level),
            ),
        )
