"""What commands print and write: rows, tables, figures, and what they say about results that are left out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ticketdiet.core.errors import UserError
from ticketdiet.reports.formats import Format

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.table import Table

    from ticketdiet.reports.completeness import SoundResults, StudyState
    from ticketdiet.reports.study import Study
    from ticketdiet.studies.plan import Plan

MOST_NAMED = 5
_QUANTILE_NAMES = {0.0: "lowest", 0.5: "median", 1.0: "highest"}


def new_table(*headings: str) -> Table:
    """Make a table for people; a heading that begins with ``>`` is that of a column of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    return table


def print_table(table: Table) -> None:
    """Print a table, and an empty line after it."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)  # a class may be called [red] or :cat:
    console.print(table)
    console.print()


def print_quantiles(heading: str, values: Mapping[str, np.ndarray]) -> None:
    """Print the quantiles of scores, one column per name."""
    from ticketdiet.reports.diet_report import QUANTILES, quantiles

    table = new_table(heading, *(f">{name}" for name in values))
    columns = [quantiles(one) for one in values.values()]
    for fraction, *cells in zip(QUANTILES, *columns, strict=True):
        table.add_row(_QUANTILE_NAMES.get(fraction, f"{fraction:.0%}"), *(f"{cell:.4g}" for cell in cells))
    print_table(table)


def print_or_write_rows(rows: pd.DataFrame, kind: Format, out: Path | None) -> None:
    """Print rows, or write them to ``out``, whose name agrees with ``kind``, and say where."""
    from ticketdiet.reports.table import format_rows, parquet_rows
    from ticketdiet.reports.writing import write_rows

    if out is not None:
        write_rows(rows, out)
        typer.echo(f"{len(rows):,} rows: {out}")
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise UserError(
            "--format parquet would print binary data on the terminal.",
            expected="a file",
            way_out="--out rows.parquet, or redirect the output",
        )
    sys.stdout.buffer.write(parquet_rows(rows) if kind == "parquet" else format_rows(rows, kind).encode())
    sys.stdout.flush()


def save_figures(figures: Mapping[str, Figure] | Iterable[tuple[str, Figure]], folder: Path) -> list[Path]:
    """Write figures by stem as PNG and SVG, one at a time, say where, and return the files."""
    from ticketdiet.reports.style import save_figure

    files: list[Path] = []
    for stem, figure in figures.items() if isinstance(figures, Mapping) else figures:
        new = save_figure(figure, folder / stem)
        say_figures(new)
        files += new
    return files


def say_figures(files: Iterable[Path]) -> None:
    """Say where figures are."""
    for path in files:
        typer.echo(f"figure:  {path}")


def save_json(document: Mapping[str, Any], path: Path | None) -> None:
    """Write a result as JSON where a file was asked for, and say so."""
    if path is not None:
        from ticketdiet.reports.writing import write_bytes

        write_bytes((json.dumps(document, indent=1) + "\n").encode(), path)
        typer.echo(f"json:    {path}")


def sound_results(study: Study, kinds: tuple[str, ...]) -> tuple[Plan, SoundResults, StudyState]:
    """Read which results of these kinds of stage can be used, and say which are left out."""
    from ticketdiet.reports.completeness import SoundResults, study_state

    plan = study.plan
    state = study_state(plan, study.store, kinds=kinds, whole=kinds)
    say_what_is_left_out(study.name, state)
    return plan, SoundResults(study.store, state), state


def say_what_is_left_out(name: str, state: StudyState) -> None:
    """Say how many results are missing, with the first few, and which are damaged; nothing when all are there."""
    if state.is_complete:
        return
    total = len(state.stages)
    if state.missing:
        typer.echo(f"{name}: {len(state.missing)} of {total} results are left out because they are missing:", err=True)
        for address in state.missing[:MOST_NAMED]:
            typer.echo(f"  {state.stages[address].label} ({address})", err=True)
        if len(state.missing) > MOST_NAMED:
            typer.echo(f"  and {len(state.missing) - MOST_NAMED} more", err=True)
    if state.damaged:
        typer.echo(f"{name}: {len(state.damaged)} of {total} results are left out because they are damaged:", err=True)
        for address, reason in state.damaged.items():
            typer.echo(f"  {state.stages[address].label} ({address}): {reason}", err=True)
    typer.echo("`ticketdiet run` on the same study and store makes these, and keeps all others.", err=True)


def end_with(state: StudyState, strict: bool) -> None:
    """End the command with exit code 1 when ``strict`` and something was left out."""
    if strict and not state.is_complete:
        raise typer.Exit(1)


def warn(message: str) -> None:
    """Print a warning on standard error, unless it is empty."""
    if message:
        typer.echo(f"warning: {message}", err=True)


def warn_of_mixed_machines(study: Study, plan: Plan) -> None:
    """Warn when the results of a study come from different machines."""
    from ticketdiet.reports.machines import mixed_machines

    warn(mixed_machines(plan, study.store))
