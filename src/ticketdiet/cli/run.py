"""``ticketdiet run``: make what is missing of a study, and show what came out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    Devices,
    DevicesPerStage,
    ExecutorName,
    ExecutorsFile,
    FiguresFolder,
    LimitArms,
    Settings,
    StoreUrl,
    StudyName,
    Threads,
    Workers,
    WorkersPerDevice,
    open_executor,
    open_study,
    split_devices,
)
from ticketdiet.cli.output import save_figures, say_figures, say_what_is_left_out, warn_of_mixed_machines
from ticketdiet.cli.stopping import resumable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ticketdiet.reports.drawn import Shown
    from ticketdiet.reports.measured import Measured
    from ticketdiet.reports.study import Study
    from ticketdiet.reports.titled import TitledTable
    from ticketdiet.store.results import ResultStore
    from ticketdiet.studies.loggers.base import Logger
    from ticketdiet.studies.plan import Plan


def run(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    workers: Workers = None,
    workers_per_device: WorkersPerDevice = None,
    threads: Threads = None,
    device: Devices = None,
    devices_per_stage: DevicesPerStage = None,
    executor: ExecutorName = None,
    executors: ExecutorsFile = None,
    limit_arms: LimitArms = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:TARGET",
            help="Tell another program every number too: tensorboard:FOLDER, mlflow:URI, wandb:PROJECT or "
            "trackio:PROJECT. Repeatable.",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on without this terminal; status shows how it goes, cancel ends it.")
    ] = False,
    out: FiguresFolder = None,
) -> None:
    """Make what is missing of a study, in dependency order, and keep each result as soon as it is there."""
    with resumable():
        found = open_study(study, store, settings, limit_arms)
        place = open_executor(executor, executors)
        if detach:
            from ticketdiet.cli.detaching import start_detached

            start_detached(sys.argv[1:], found.name, _same_study(study, store, settings, limit_arms))
            return
        loggers = _loggers(log or ())
        outcome = found.run(
            workers=workers,
            workers_per_device=workers_per_device,
            devices=split_devices(device),
            devices_per_stage=devices_per_stage,
            threads=threads,
            executor=place,
            loggers=loggers,
        )
        if not outcome.made:
            typer.echo(f"Nothing to do: all {outcome.kept} stages of {found.name} are in {found.store.url}.")
        else:
            typer.echo(f"Made {outcome.made} stages; {outcome.kept} were there already.")
        plan = found.plan
        # What makes tables takes long to import, so this comes only once the above is said.
        _show_summary(found, plan, out or Path("figures") / found.name)
        warn_of_mixed_machines(found, plan)


def _same_study(study: str, store: str, settings: Sequence[str] | None, limit_arms: str | None) -> list[str]:
    """Write arguments with which another command means the very stages of this run."""
    overrides = [part for one in settings or () for part in ("--set", one)]
    arms = ["--limit-arms", limit_arms] if limit_arms else []
    return [study, *overrides, *arms, "--store", store]


def _loggers(texts: Sequence[str]) -> list[Logger]:
    if not texts:
        return []
    from ticketdiet.studies.loggers.catalog import make_logger

    return [make_logger(text) for text in texts]


def _show_summary(study: Study, plan: Plan, out: Path) -> None:
    """Print the tables, where the results are, and the figures; they are made again only when they would differ."""
    from ticketdiet.reports.completeness import DRAWN
    from ticketdiet.reports.drawn import read_shown
    from ticketdiet.reports.measured import read_measured

    source = _source(plan, study.store)  # first, so that nothing that is exchanged meanwhile passes for shown
    measured = read_measured(plan, study.store, whole=DRAWN)  # checks every result, also when all of it was shown
    say_what_is_left_out(study.name, measured.state)
    known = read_shown(out, source) if source else None
    if known is None or not measured.state.is_complete:
        _show_anew(measured, study.store.url, out, source, known)
    else:
        _print_tables(known.tables, study.store.url)
        say_figures(known.figures)


def _source(plan: Plan, store: ResultStore) -> str | None:
    """Say what the tables and figures depend on; None where a result is missing, so that they are made again."""
    from ticketdiet.core.errors import DamagedResult
    from ticketdiet.reports.drawn import what_is_shown

    try:
        return what_is_shown(plan, store)
    except DamagedResult:
        return None


def _show_anew(measured: Measured, url: str, out: Path, source: str | None, known: Shown | None) -> None:
    """Make the tables, and draw the figures unless they are known; keep both when nothing was left out."""
    from ticketdiet.reports.drawn import Shown, record_shown
    from ticketdiet.reports.reading import tabulate
    from ticketdiet.reports.table import study_tables

    found = tabulate(measured)
    tables = study_tables(found)
    _print_tables(tables, url)
    if known is not None:
        say_figures(known.figures)
        return
    from ticketdiet.reports.drawing import draw_figures

    files = save_figures(draw_figures(found), out)
    if source and found.state.is_complete:  # what leaves something out is made again when it is there
        record_shown(out, source, Shown(tables, tuple(files)))


def _print_tables(tables: Sequence[TitledTable], url: str) -> None:
    from rich.console import Console

    console = Console()
    for table in tables:
        console.print(table)
    typer.echo(f"results: {url}")
