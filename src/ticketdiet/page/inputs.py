"""What the page is made from: the results of a study, and what is known besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ticketdiet.core.errors import check_known
from ticketdiet.reports.published import PublishedCurve
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.verdict import Verdict


@dataclass(frozen=True, eq=False)
class StudyInput:
    """One study of the page.

    Attributes:
        results: What the store holds of it, with the arrays that figures need.
        anchor: What links in the page call it.
        verdicts: On claims that it covers; empty for none.
        curves: Arm -> the published curve that belongs to it.
        baseline: Arm that the others are compared with; default the first.
        planes: Arms whose plane through a parent and two children is measured, which needs the data set.
    """

    results: StudyResults
    anchor: str
    verdicts: Sequence[Verdict] = ()
    curves: Mapping[str, PublishedCurve] = field(default_factory=dict)
    baseline: str | None = None
    planes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for arm in (*self.planes, *([] if self.baseline is None else [self.baseline])):
            check_known("arm", arm, self.arms)

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order of the study."""
        return list(self.results.plan.study.arms)

    @property
    def compared_with(self) -> str:
        """Arm that the others are compared with."""
        return self.baseline or self.arms[0]
