"""What a finished run shows: the table, where the results lie, the figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from ticketdiet.cli.completeness import say_what_is_left_out
from ticketdiet.core.errors import UserError
from ticketdiet.reports.completeness import DRAWN, Results
from ticketdiet.reports.drawn import record_figures, unchanged_figures, what_figures_show
from ticketdiet.reports.reading import read_study
from ticketdiet.reports.table import (
    Format,
    comparison_table,
    family_table,
    format_rows,
    parquet_rows,
    rich_summary,
)
from ticketdiet.reports.writing import write_rows
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.planner import Plan

if TYPE_CHECKING:
    import pandas as pd


def show_summary(plan: Plan, store: ResultStore, out: Path) -> None:
    """Print the tables, where the results lie, and the figures, drawn anew only when what they show has changed."""
    found, console = read_study(plan, store, whole=DRAWN), Console()
    rows = found.rows
    say_what_is_left_out(plan, found.state)
    console.print(rich_summary(rows, title=f"{plan.study.study}: test accuracy by density"))
    if plan.study.children:
        question = f"{plan.study.study}: are the dense children connected?"
        console.print(family_table(rows, title=question, batch_norm=plan.study.measure.batch_norm))
    typer.echo(f"results: {store.url}")
    shows = what_figures_show(plan, store)
    figures = unchanged_figures(out, shows)
    if figures is None:
        figures = draw_figures(plan, found.store, rows, out)
        record_figures(out, shows, figures)
    for path in figures:
        typer.echo(f"figure:  {path}")


def draw_figures(plan: Plan, store: Results, rows: pd.DataFrame, out: Path) -> list[Path]:
    """Draw every figure that the results allow, as PNG and SVG in ``out``."""
    from ticketdiet.reports.study_figures import study_figures
    from ticketdiet.reports.style import save_figure

    figures = study_figures(plan, store, rows)
    return [path for stem, figure in figures.items() for path in save_figure(figure, out / stem)]


def give_rows(rows: pd.DataFrame, kind: Format, out: Path | None) -> None:
    """Print rows, or write them to ``out``, whose name says ``kind`` (``writing.choose_format``), and say where."""
    if out is not None:
        write_rows(rows, out)
        typer.echo(f"{len(rows):,} rows: {out}")
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise UserError("Parquet is no text.", expected="a file", way_out="--out rows.parquet, or redirect the output")
    sys.stdout.buffer.write(parquet_rows(rows) if kind == "parquet" else format_rows(rows, kind).encode())
    sys.stdout.flush()


def print_comparison(compared: pd.DataFrame, study: str, metric: str, split: str) -> None:
    """Print the comparison of two arms."""
    title = f"{study}: {compared['arm'].iloc[0]} minus {compared['baseline'].iloc[0]}"
    Console().print(comparison_table(compared, metric=metric, split=split, title=title))
