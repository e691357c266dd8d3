"""C7: the examples with the lowest barrier are a good subset themselves."""

from __future__ import annotations

from typing import Any

from ticketdiet.paper.claim import Arms, Claim, Question, all_arm, is_above, is_no_worse, subset_arm
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
        lowest = f"lowest-barrier{size}@{early}"
        return (
            is_above(setting, level, lowest, f"all@{early}"),
            is_no_worse(setting, level, lowest, f"easiest{size}@{early}"),
            is_above(setting, level, lowest, f"random{size}@{early}", decides=False),
        )
