"""C3: the easiest examples need fewer steps, and the hardest fail."""

from __future__ import annotations

from ticketdiet.paper.claim import MARGIN, Arms, Claim, Question, all_arm, at, subset_arm
from ticketdiet.paper.contrasts import accuracy_difference
from ticketdiet.paper.setting import Setting

FORGETTING_MODELS = 4


class EasiestNeedFewerSteps(Claim):
    """Pre-training on the easiest examples reaches the same quality in fewer steps; the hardest fail."""

    name = "C3"
    title = "The easiest examples need fewer steps"
    statement = (
        "Pre-training on the easiest examples (lowest EL2N) reaches in fewer steps what all data reach later, and "
        "pre-training on the hardest examples is worse."
    )

    def arms(self, setting: Setting) -> Arms:
        """Return the easiest and the hardest of every size, and the controls of class shares and of the score."""
        early, size = setting.early, setting.size
        arms = all_arm(early) | all_arm(setting.late)
        for each in sorted({size, *setting.sizes}):
            arms |= subset_arm(f"easiest{each}", early, kind="easiest", size=each, score="el2n")
            arms |= subset_arm(f"hardest{each}", early, kind="hardest", size=each, score="el2n")
        easiest = f"easiest{size}@{early}"
        arms |= subset_arm(f"random{size}-like-easiest", early, kind="random", like=easiest)
        arms |= subset_arm(f"easiest{size}-balanced", early, kind="easiest", size=size, score="el2n", balanced=True)
        if setting.scale != "mini":
            arms |= subset_arm(f"unforgotten{size}", early, kind="easiest", size=size, score="forgetting")
        return arms

    def scores(self, setting: Setting) -> dict[str, object]:
        """Return forgetting, beside EL2N."""
        return {
            "forgetting": {**setting.score, "kind": "forgetting", "models": FORGETTING_MODELS, "per_replicate": True}
        }

    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Ask whether the easiest beat all data at the same k, equal them at a later one, and beat the hardest."""
        level, early = setting.level(setting.sparse), setting.early
        where, size = at(setting, level), setting.size
        every, later = f"all@{early}", f"all@{setting.late}"
        easiest, hardest = f"easiest{size}@{early}", f"hardest{size}@{early}"
        alike, balanced = f"random{size}-like-easiest@{early}", f"easiest{size}-balanced@{early}"

        def above(arm: str, baseline: str, decides: bool) -> Question:
            contrast = accuracy_difference(arm, level, baseline, level)
            return Question(f"{arm} is above {baseline} at {where}", "test accuracy", contrast, decides=decides)

        return (
            above(easiest, every, True),
            Question(
                f"{easiest} is less than {MARGIN:g} below {later} at {where}",
                "test accuracy",
                accuracy_difference(easiest, level, later, level),
                above=-MARGIN,
            ),
            above(easiest, hardest, True),
            above(easiest, alike, False),
            above(balanced, every, False),
            *self._forgetting_question(setting, level),
        )

    def _forgetting_question(self, setting: Setting, level: int) -> tuple[Question, ...]:
        """Ask, beside the rule, whether forgetting chooses as well as EL2N."""
        unforgotten, easiest = (f"{name}{setting.size}@{setting.early}" for name in ("unforgotten", "easiest"))
        if setting.scale == "mini":
            return ()
        return (
            Question(
                f"{unforgotten} is less than {MARGIN:g} below {easiest} at {at(setting, level)}",
                "test accuracy",
                accuracy_difference(unforgotten, level, easiest, level),
                above=-MARGIN,
                decides=False,
            ),
        )
