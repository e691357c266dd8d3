"""``run``, ``plan``, ``results`` and ``figure``: what one does with a study."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Device, LimitArms, Settings, StoreUrl, Study, open_plan, open_store
from ticketdiet.cli.stopping import resumable


class PlanFormat(enum.StrEnum):
    """How a plan is printed."""

    table = "table"
    json = "json"


class RowsFormat(enum.StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


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
    from ticketdiet.studies.run import run_plan

    with resumable():
        chosen = choose_device(device)
        todo = open_plan(study, settings, limit_arms)
        kept_in = open_store(store, create=True)
        with RunView() as view:
            outcome = run_plan(todo, kept_in, workers=workers, device=chosen, observer=view)
        if not outcome.made:
            typer.echo(f"Nothing to do: all {outcome.kept} stages of {todo.study.study} are in {kept_in.url}.")
        else:
            typer.echo(f"Made {outcome.made} stages, {outcome.kept} were there already.")
        # Tables and figures need libraries that take long to import: only once the above is said.
        from ticketdiet.cli.summary import show_summary

        show_summary(todo, kept_in, out or Path("figures") / todo.study.study)


def plan(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    format: Annotated[PlanFormat, typer.Option(help="How to print it.")] = PlanFormat.table,
) -> None:
    """List every stage of a study, done or left, and the work left."""
    from ticketdiet.cli.plans import print_plan

    print_plan(open_plan(study, settings, limit_arms), store, as_json=format is PlanFormat.json)


def results(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    format: Annotated[RowsFormat, typer.Option(help="parquet needs --out or a redirected output.")] = RowsFormat.table,
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
) -> None:
    """Print the measurements of a study as tidy rows."""
    from ticketdiet.cli.summary import print_rows
    from ticketdiet.reports.reading import read_rows

    todo = open_plan(study, settings, limit_arms)
    print_rows(read_rows(todo, open_store(store)), format.value, out)


def figure(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    out: FiguresFolder = None,
) -> None:
    """Draw the figures of a study, as PNG and SVG."""
    from ticketdiet.cli.summary import draw_figures
    from ticketdiet.reports.reading import read_rows

    todo = open_plan(study, settings, limit_arms)
    kept_in = open_store(store)
    for path in draw_figures(todo, kept_in, read_rows(todo, kept_in), out or Path("figures") / todo.study.study):
        typer.echo(str(path))
