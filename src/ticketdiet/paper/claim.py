"""What a claim of the paper is made of: a sentence, the arms that it needs, and the questions that decide it.

The rule that a person reads is written from the same questions that the code asks, so that the two cannot differ.
No question reads a result to choose an arm, a density or a margin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ticketdiet.paper.contrasts import Contrast, accuracy_difference
from ticketdiet.paper.setting import Setting, study_of
from ticketdiet.studies.spec import StudySpec

MARGIN = 0.01  # of test accuracy: an arm is no worse when it is less than this below the other
MATCHING_MARGIN = 0.02  # a sparse network matches when it is less than this below the dense one

Arms = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Question:
    """One question of a rule: whether a mean over replicates is above a bound.

    Attributes:
        text: What is asked, in words: ``"all@400 is above none@0 at density 0.035"``.
        metric: What is compared, in words.
        contrast: One number per replicate.
        above: The bound: 0, or minus the margin of a question for "no worse".
        decides: Whether the verdict depends on it; otherwise it is a control that is reported beside the verdict.
    """

    text: str
    metric: str
    contrast: Contrast
    above: float = 0.0
    decides: bool = True


class Claim(ABC):
    """A claim of arXiv 2206.01278. Every claim is a class in a file of its own under ``claims``.

    Attributes:
        name: ``"C1"`` to ``"C7"``.
        title: A few words for tables.
        statement: The claim in one sentence.
        children: How many children every rewinding point gets; 0 where no barrier is needed.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    statement: ClassVar[str]
    children: ClassVar[int] = 0

    @abstractmethod
    def arms(self, setting: Setting) -> Arms:
        """Return the arms that the claim needs, as in a study file."""

    @abstractmethod
    def questions(self, setting: Setting) -> tuple[Question, ...]:
        """Return the questions of the rule, in the order in which they are reported."""

    def scores(self, setting: Setting) -> Mapping[str, Any]:
        """Return the scores that the arms use beside ``el2n``, as in a study file."""
        del setting
        return {}

    def study(self, setting: Setting) -> StudySpec:
        """Return the study that has the arms of the claim."""
        return study_of(
            setting,
            f"{self.name.lower()}-{setting.name}",
            self.arms(setting),
            description=f"{self.name}: {self.statement}",
            children=self.children,
            scores=self.scores(setting),
        )

    def rule(self, setting: Setting) -> str:
        """Return the rule in words."""
        deciding = [question.text for question in self.questions(setting) if question.decides]
        listed = "; ".join(f"({letter}) {text}" for letter, text in zip("abcdefgh", deciding, strict=False))
        return (
            f"The claim is supported when every one of these is declared: {listed}. It is contradicted when the "
            "opposite of one of them is declared, and undecided otherwise."
        )


def is_above(setting: Setting, level: int, arm: str, baseline: str, *, decides: bool = True) -> Question:
    """Ask whether an arm is more accurate than another at a level."""
    contrast = accuracy_difference(arm, level, baseline, level)
    return Question(f"{arm} is above {baseline} at {at(setting, level)}", "test accuracy", contrast, decides=decides)


def is_no_worse(setting: Setting, level: int, arm: str, baseline: str, *, decides: bool = True) -> Question:
    """Ask whether an arm is less than the margin below another at a level."""
    text = f"{arm} is less than {MARGIN:g} below {baseline} at {at(setting, level)}"
    contrast = accuracy_difference(arm, level, baseline, level)
    return Question(text, "test accuracy", contrast, above=-MARGIN, decides=decides)


def none_arm() -> Arms:
    """Return the arm without pre-training."""
    return {"none@0": {}}


def all_arm(steps: int) -> Arms:
    """Return the arm with ``steps`` of pre-training on all data."""
    return {f"all@{steps}": {"pretrain": {"steps": steps}}}


def subset_arm(name: str, steps: int, *, size: int | None = None, **subset: Any) -> Arms:
    """Return an arm that is pre-trained on a subset; it is called by the name, the size and the steps."""
    sized = subset if size is None else {**subset, "size": size}
    return {f"{name}@{steps}": {"pretrain": {"steps": steps, "subset": sized}}}


def at(setting: Setting, level: int) -> str:
    """Return the density of a level in words."""
    return f"density {setting.density(level):.3g}"
