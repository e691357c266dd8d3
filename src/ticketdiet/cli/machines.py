"""What the commands say of the machines that results were made on: columns of ``results``, and a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from ticketdiet.store.results import ResultStore
    from ticketdiet.studies.planner import Plan

Columns = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Only these columns; also cpu, capability, threads, torch, device and seconds, from the manifests.",
    ),
]


def keep_columns(rows: pd.DataFrame, store: ResultStore, columns: str | None) -> pd.DataFrame:
    """Return the rows with the columns that were asked for, or as they are."""
    from ticketdiet.reports.machines import choose_columns

    if columns is None:
        return rows
    return choose_columns(rows, store, [name.strip() for name in columns.split(",") if name.strip()])


def warn_of_mixed_machines(plan: Plan, store: ResultStore) -> None:
    """Say on standard error that the results of a study come from different machines, where they do."""
    from ticketdiet.reports.machines import mixed_machines

    found = mixed_machines(plan, store)
    if found:
        typer.echo(f"warning: {found}", err=True)
