"""C2: a small random subset is enough."""

from __future__ import annotations

from ticketdiet.paper.claim import Arms, Claim, Question, all_arm, is_above, is_no_worse, none_arm, subset_arm
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
        level, drawn = setting.level(setting.sparse), f"random{setting.size}@{setting.early}"
        return (
            is_no_worse(setting, level, drawn, f"all@{setting.early}"),
            is_above(setting, level, drawn, "none@0"),
        )
