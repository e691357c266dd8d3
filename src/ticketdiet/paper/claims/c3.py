"""C3: the easiest examples need fewer steps, and the hardest fail."""

from __future__ import annotations

from ticketdiet.paper.claim import Arms, Claim, Question, all_arm, is_above, is_no_worse, subset_arm
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
        level, early, size = setting.level(setting.sparse), setting.early, setting.size
        every, later = f"all@{early}", f"all@{setting.late}"
        easiest, hardest = f"easiest{size}@{early}", f"hardest{size}@{early}"
        alike, balanced = f"random{size}-like-easiest@{early}", f"easiest{size}-balanced@{early}"
        questions = (
            is_above(setting, level, easiest, every),
            is_no_worse(setting, level, easiest, later),
            is_above(setting, level, easiest, hardest),
            is_above(setting, level, easiest, alike, decides=False),
            is_above(setting, level, balanced, every, decides=False),
        )
        if setting.scale == "mini":
            return questions
        return (*questions, is_no_worse(setting, level, f"unforgotten{size}@{early}", easiest, decides=False))
