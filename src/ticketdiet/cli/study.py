"""``run``, ``plan``, ``results`` and ``figure``: what one does with a study."""

from __future__ import annotations

import enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ticketdiet.cli.completeness import Strict, end_with, say_what_is_left_out
from ticketdiet.cli.machines import Columns, keep_columns, warn_of_mixed_machines
from ticketdiet.cli.options import (
    DEFAULT_STORE,
    Device,
    LimitArms,
    RowsFormat,
    Settings,
    StoreUrl,
    Study,
    open_plan,
    open_store,
)
from ticketdiet.cli.stopping import resumable


class PlanFormat(enum.StrEnum):
    """How a plan is printed."""

    table = "table"
    json = "json"


FiguresFolder = Annotated[Path | None, typer.Option(help="Folder of the figures; default figures/NAME.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (run, plan, results, figure):
        app.command()(command)


def run(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that train; default one a core, or one on a GPU.")
    ] = None,
    device: Device = "auto",
    limit_arms: LimitArms = None,
    out: FiguresFolder = None,
) -> None:
    """Run what is missing of a study, in dependency order; results are kept as they come."""
    from ticketdiet.cli.progress import RunView
    from ticketdiet.studies.executors import choose_device
    from ticketdiet.studies.precision_advice import precision_advice
    from ticketdiet.studies.run import run_plan

    with resumable():
        chosen = choose_device(device)
        todo = open_plan(study, settings, limit_arms, warn=True)
        kept_in = open_store(store, create=True)
        with RunView(advise=partial(precision_advice, device=chosen, workers=workers)) as view:
            outcome = run_plan(todo, kept_in, workers=workers, device=chosen, observer=view)
        if not outcome.made:
            typer.echo(f"Nothing to do: all {outcome.kept} stages of {todo.study.study} are in {kept_in.url}.")
        else:
            typer.echo(f"Made {outcome.made} stages, {outcome.kept} were there already.")
        # Tables and figures need libraries that take long to import: only once the above is said.
        from ticketdiet.cli.summary import show_summary

        show_summary(todo, kept_in, out or Path("figures") / todo.study.study)
        warn_of_mixed_machines(todo, kept_in)


def plan(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    format: Annotated[PlanFormat, typer.Option(help="How to print it.")] = PlanFormat.table,
) -> None:
    """List every stage of a study, done or left, and the work left."""
    from ticketdiet.cli.plans import print_plan

    print_plan(open_plan(study, settings, limit_arms, warn=True), store, as_json=format is PlanFormat.json)


def results(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    format: Annotated[
        RowsFormat | None, typer.Option(help="Default table; parquet needs --out or a redirected output.")
    ] = None,
    columns: Columns = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write .csv, .json, .parquet or .txt instead of printing.")
    ] = None,
    strict: Strict = False,
) -> None:
    """Print the measurements of a study as tidy rows."""
    from ticketdiet.cli.summary import give_rows
    from ticketdiet.reports.reading import read_study
    from ticketdiet.reports.writing import choose_format

    kind = choose_format(format.value if format else None, out)
    todo, kept_in = open_plan(study, settings, limit_arms), open_store(store)
    found = read_study(todo, kept_in)
    say_what_is_left_out(todo, found.state)
    rows = keep_columns(found.rows, kept_in, columns)
    warn_of_mixed_machines(todo, kept_in)
    give_rows(rows, kind, out)
    end_with(found.state, strict)


def figure(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    out: FiguresFolder = None,
    strict: Strict = False,
) -> None:
    """Draw the figures of a study, as PNG and SVG."""
    from ticketdiet.cli.summary import draw_figures
    from ticketdiet.reports.completeness import DRAWN
    from ticketdiet.reports.reading import read_study

    todo = open_plan(study, settings, limit_arms)
    kept_in = open_store(store)
    found = read_study(todo, kept_in, whole=DRAWN)
    say_what_is_left_out(todo, found.state)
    warn_of_mixed_machines(todo, kept_in)
    for path in draw_figures(todo, found.store, found.rows, out or Path("figures") / todo.study.study):
        typer.echo(str(path))
    end_with(found.state, strict)
