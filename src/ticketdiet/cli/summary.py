"""What a finished run shows: the table, where the results lie, the figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pandas as pd
import typer
from rich.console import Console

from ticketdiet.core.errors import UserError
from ticketdiet.reports.figures import accuracy_figure
from ticketdiet.reports.style import save_figure
from ticketdiet.reports.table import format_rows, parquet_rows, rich_summary
from ticketdiet.studies.planner import Plan


def show_summary(plan: Plan, rows: pd.DataFrame, store_url: str, out: Path, *, draw: bool) -> None:
    """Print the accuracy table, where the results lie, and the figures drawn."""
    Console().print(rich_summary(rows, title=f"{plan.study.study}: test accuracy by density"))
    typer.echo(f"results: {store_url}")
    for path in draw_figures(plan, rows, out) if draw else ():
        typer.echo(f"figure:  {path}")


def draw_figures(plan: Plan, rows: pd.DataFrame, out: Path) -> list[Path]:
    """Draw every figure that the rows allow, as PNG and SVG in ``out``."""
    figure = accuracy_figure(rows, title=f"{plan.study.study}: test accuracy of sparse networks")
    return save_figure(figure, out / "accuracy")


def print_rows(rows: pd.DataFrame, kind: Literal["table", "csv", "json", "parquet"], out: Path | None) -> None:
    """Print rows, or write them to ``out``."""
    data = parquet_rows(rows) if kind == "parquet" else format_rows(rows, kind).encode()
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
        typer.echo(str(out))
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise UserError("Parquet is no text.", expected="a file", way_out="--out rows.parquet, or redirect the output")
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
