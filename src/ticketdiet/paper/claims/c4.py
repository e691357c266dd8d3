"""C4: with wrong labels in pre-training, easy data gain more."""

from __future__ import annotations

from ticketdiet.paper.claim import Arms, Claim, Question, all_arm, at, is_above, subset_arm
from ticketdiet.paper.contrasts import difference_of_differences
from ticketdiet.paper.setting import Setting

FRACTIONS = (0.1, 0.5)
JUDGED = 0.5


class EasyDataGainUnderNoise(Claim):
    """With random labels in the pre-training data, the gain of easy data grows."""

    name = "C4"
    title = "Easy data gain more under label noise"
    statement = (
        "With random labels in the pre-training data, the easiest examples gain more over all data than without."
    )

    def arms(self, setting: Setting) -> Arms:
        """Return all data, random and easiest with clean labels and with each fraction of wrong ones."""
        arms = self._trio(setting, "")
        for fraction in FRACTIONS if setting.scale != "mini" else (JUDGED,):
            noise = {"kind": "symmetric_all", "fraction": fraction, "where": "pretraining", "per_replicate": True}
            noisy = self._trio(setting, f"-noise{round(100 * fraction)}")
            arms |= {name: {**arm, "label_noise": noise} for name, arm in noisy.items()}
        return arms

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask whether the easiest beat all data under noise, and by more than without it."""
        level, early = setting.level(setting.sparse), setting.early
        where = at(setting, level)
        noisy = self._pair(setting, f"-noise{round(100 * JUDGED)}")
        clean = self._pair(setting, "")
        return (
            is_above(setting, level, *noisy),
            Question(
                f"the gain of the easiest over all data at k = {early} and {where} is larger with {JUDGED:.0%} random "
                "labels than without",
                "gain in test accuracy",
                difference_of_differences(noisy, clean, level),
            ),
        )

    def _trio(self, setting: Setting, suffix: str) -> Arms:
        early, size = setting.early, setting.size
        every = {f"all{suffix}@{early}": all_arm(early)[f"all@{early}"]}
        drawn = subset_arm(f"random{size}{suffix}", early, kind="random", size=size)
        return every | drawn | subset_arm(f"easiest{size}{suffix}", early, kind="easiest", size=size, score="el2n")

    def _pair(self, setting: Setting, suffix: str) -> tuple[str, str]:
        return f"easiest{setting.size}{suffix}@{setting.early}", f"all{suffix}@{setting.early}"
