"""The door of the page: studies in, one file out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ticketdiet.core.errors import UserError
from ticketdiet.core.writing import writing
from ticketdiet.page.inputs import StudyInput
from ticketdiet.page.render import render_page, study_part
from ticketdiet.reports.completeness import DRAWN
from ticketdiet.reports.published import curves_of
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.study import Study
from ticketdiet.reports.verdict import Verdict

FILE = "index.html"
Judge = Callable[[StudyResults], Sequence[Verdict]]


def no_verdicts(results: StudyResults) -> Sequence[Verdict]:
    """Judge nothing."""
    del results
    return ()


def write_report(
    studies: Study | Sequence[Study],
    out: str | Path,
    *,
    baseline: str | None = None,
    judge: Judge = no_verdicts,
    planes: Sequence[str] = (),
) -> Path:
    """Write one self-contained HTML page about studies, from their stores alone.

    Where the published figures have a curve of an arm, it is drawn beside it.

    Args:
        studies: One or several, from :func:`~ticketdiet.reports.loading.load_study`. What is not finished is left out
            and named.
        out: Folder of the page.
        baseline: Arm that the others are compared with; default the first of each study.
        judge: Gives verdicts on claims on the results of a study; those that name it are shown.
        planes: Arms of which the loss on the plane through a parent and two children is measured now, on up to 1,000
            training images. This needs the data set.

    Returns:
        The path of ``index.html``.

    Raises:
        UserError: For no study, two of one name, arms that a study does not have, or when the file cannot be written.
        NoStore: When a store was never made.
    """
    page = report_page(studies, baseline=baseline, judge=judge, planes=planes)
    path = Path(out) / FILE
    with writing(path):
        path.write_text(page, encoding="utf-8")
    return path


def report_page(
    studies: Study | Sequence[Study],
    *,
    baseline: str | None = None,
    judge: Judge = no_verdicts,
    planes: Sequence[str] = (),
    live: bool = False,
) -> str:
    """Return the page that :func:`write_report` writes, as HTML.

    Args:
        studies: As in :func:`write_report`, like all that follows.
        baseline: Arm that the others are compared with.
        judge: Gives the verdicts.
        planes: Arms whose planes are measured.
        live: Whether the page asks its server for changes.

    Raises:
        UserError: As :func:`write_report`.
    """
    several = [studies] if isinstance(studies, Study) else list(studies)
    names = [study.name for study in several]
    if not several or len(set(names)) < len(names):
        raise UserError(
            f"Got {', '.join(names) or 'no study'}.",
            expected="at least one study, and each name once",
            way_out="name every study once",
        )
    parts = []
    for study in several:
        found = study.results(whole=DRAWN)
        own = [verdict for verdict in judge(found) if verdict.study == study.name]
        given = StudyInput(found, _anchor(study.name), own, curves_of(found.plan.study), baseline, planes)
        parts.append(study_part(given, study.store))
    return render_page(parts, live=live)


def _anchor(name: str) -> str:
    """Return a name as links can have it; two names of studies never give one anchor."""
    return re.sub(r"[^A-Za-z0-9-]", lambda match: f"_{ord(match[0]):x}_", name)
