"""``ticketdiet status``: how a study stands, from its store alone, once or until it is complete."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, StudyName, open_study
from ticketdiet.cli.output import new_table
from ticketdiet.core.errors import NoStore

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from ticketdiet.reports.status import StudyStatus
    from ticketdiet.reports.study import Study


def status(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until every stage is done, or until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 5.0,
    format: Annotated[Literal["table", "json"], typer.Option(help="How to print it.")] = "table",
) -> None:
    """Show what of a study is done, running, failed and left, how fast it goes, and accuracies so far."""
    found = open_study(study, store, settings, limit_arms)
    if not watch:
        _show(found.status(), format)
        return
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        changes = watched(_looks(found), lambda: time.sleep(interval))
        if format == "table" and _is_terminal():
            _draw_over(changes)
        else:
            for one in changes:
                if one.is_news:
                    _show(one.status, format)


@dataclass(frozen=True)
class Look:
    """A status, and whether more than times has changed since the look before."""

    status: StudyStatus
    is_news: bool


def watched(looks: Iterator[StudyStatus], pause: Callable[[], None]) -> Iterator[Look]:
    """Yield looks until the study is complete.

    Args:
        looks: How the study stands, whenever it is asked.
        pause: Waits until the next look.

    Yields:
        Every look.
    """
    before: object = None
    for status in looks:
        now = _state(status)
        yield Look(status, now != before)
        if status.is_complete:
            return
        before = now
        pause()


def _state(status: StudyStatus) -> object:
    """What of a status is worth another line: not times, nor the steps of what runs."""
    running = tuple((one.address, one.driver) for one in status.running)
    return status.done, running, status.failed, status.damaged


def _looks(study: Study) -> Iterator[StudyStatus]:
    from ticketdiet.reports.status import StatusReader

    reader = StatusReader(study.plan, study.url)
    while True:
        try:
            yield reader.read(study.store)
        except NoStore:  # whoever runs it makes it
            yield reader.read(None)


def _is_terminal() -> bool:
    from rich.console import Console

    return Console().is_terminal


def _draw_over(looks: Iterator[Look]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(markup=False, emoji=False, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        for one in looks:
            live.update(_drawn(one.status), refresh=True)


def _show(status: StudyStatus, format: str) -> None:
    from rich.console import Console

    if format == "json":
        typer.echo(json.dumps(_finite(asdict(status) | {"is_complete": status.is_complete}), allow_nan=False))
        return
    if _is_terminal():
        Console(markup=False, emoji=False, highlight=False).print(_drawn(status))
        return
    from ticketdiet.reports.table import whole_lines

    for line in _lines(status):
        typer.echo(line)
    for table in _tables(status):
        typer.echo(whole_lines(table), nl=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drawn(status: StudyStatus) -> Group:
    from rich.console import Group
    from rich.text import Text

    return Group(*map(Text, _lines(status)), *_tables(status))


def _lines(status: StudyStatus) -> list[str]:
    from ticketdiet.reports.status_text import headline, pace_line

    return [line for line in (headline(status), pace_line(status)) if line]


def _tables(status: StudyStatus) -> list[Table]:
    """What runs, what went wrong, and accuracies; names come from users and are never markup."""
    from rich.text import Text

    from ticketdiet.reports import status_text as words

    now = time.time()
    running = new_table("running", "by", "for", ">done")
    for one in status.running:
        cells = (one.label, one.driver, words.since_text(one.since, now), words.progress_of(one))
        running.add_row(*map(Text, cells))
    runs = new_table("run", "where", ">stages", "log")
    for run in status.runs:
        runs.add_row(*map(Text, (run.label, run.executor, str(run.stages), run.log)))
    problems = new_table("failed or damaged", "message")
    for problem in (*status.failed, *status.damaged):
        problems.add_row(Text(f"{problem.label} ({problem.address})"), Text(problem.message))
    curves = new_table("arm", "test accuracy by level", "replicates", "sparsest so far")
    for curve in status.curves:
        cells = (curve.arm, words.curve_of(curve, status), words.finished_networks(curve), words.sparsest(curve))
        curves.add_row(*map(Text, cells))
    return [table for table in (runs, running, problems, curves) if table.row_count]
