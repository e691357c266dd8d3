"""The status of a study as HTML, for notebooks. Names come from users, so that everything is escaped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from ticketdiet.reports.status_text import (
    curve_of,
    finished_networks,
    headline,
    pace_line,
    progress_of,
    since_text,
    sparsest,
)

if TYPE_CHECKING:
    from ticketdiet.reports.status import StudyStatus


def status_html(status: StudyStatus) -> str:
    """Return the status as paragraphs and tables, a fragment without styles or scripts."""
    now = time.time()
    running = [(one.label, one.driver, since_text(one.since, now), progress_of(one)) for one in status.running]
    runs = [(one.label, one.executor, str(one.stages), one.log) for one in status.runs]
    problems = [(one.label, one.address, one.message) for one in (*status.failed, *status.damaged)]
    curves = [
        (curve.arm, curve_of(curve, status), finished_networks(curve), sparsest(curve)) for curve in status.curves
    ]
    parts = [
        f"<p>{escape(headline(status))}</p>",
        f'<progress value="{status.done}" max="{status.stages}"></progress>',
        f"<p>{escape(pace_line(status))}</p>",
        _table(("run", "where", "stages", "log"), runs),
        _table(("running", "by", "for", "done"), running),
        _table(("failed or damaged", "address", "message"), problems),
        _table(("arm", "test accuracy by level", "replicates", "sparsest so far"), curves),
    ]
    return "\n".join(part for part in parts if part)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    if not lines:
        return ""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
