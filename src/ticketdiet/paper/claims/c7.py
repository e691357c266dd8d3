"""C7: the examples with the lowest barrier are a good subset themselves."""

from __future__ import annotations

from typing import Any

from ticketdiet.paper.claim import MARGIN, Arms, Claim, Question, all_arm, at, subset_arm
from ticketdiet.paper.contrasts import accuracy_difference
from ticketdiet.paper.setting import Setting


class LowestBarrierIsAGoodSubset(Claim):
    """Examples with the lowest barrier among dense children are themselves a good pre-training subset."""

    name = "C7"
    title = "Lowest-barrier examples are a good subset"
    statement = "The examples with the lowest train-loss barrier are themselves a good pre-training subset."
    children = 2

    def arms(self, setting: Setting) -> Arms:
        """Return the subset of lowest barrier beside the easiest, a random one and all data."""
        early, size = setting.early, setting.size
        arms = all_arm(early) | subset_arm(f"random{size}", early, kind="random", size=size)
        arms |= subset_arm(f"easiest{size}", early, kind="easiest", size=size, score="el2n")
        return arms | subset_arm(f"lowest-barrier{size}", early, kind="easiest", size=size, score="barrier")

    def scores(self, setting: Setting) -> dict[str, Any]:
        """Return the barriers of examples in the dense family of pre-training on all data, in each replicate."""
        return {"barrier": {"kind": "barrier", "arm": f"all@{setting.early}", "per_replicate": True}}

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask whether the subset beats all data at the same k, and is no worse than the easiest by EL2N."""
        level, early, size = setting.level(setting.sparse), setting.early, setting.size
        where, lowest = at(setting, level), f"lowest-barrier{size}@{early}"
        every, easiest = f"all@{early}", f"easiest{size}@{early}"
        drawn = f"random{size}@{early}"
        return (
            Question(
                f"{lowest} is above {every} at {where}",
                "test accuracy",
                accuracy_difference(lowest, level, every, level),
            ),
            Question(
                f"{lowest} is less than {MARGIN:g} below {easiest} at {where}",
                "test accuracy",
                accuracy_difference(lowest, level, easiest, level),
                above=-MARGIN,
            ),
            Question(
                f"{lowest} is above {drawn} at {where}",
                "test accuracy",
                accuracy_difference(lowest, level, drawn, level),
                decides=False,
            ),
        )
