"""``ticketdiet results``: the measurements of a study as tidy rows."""

from __future__ import annotations

from typing import Annotated

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    LimitArms,
    RowsFile,
    RowsFormat,
    Settings,
    StoreUrl,
    Strict,
    StudyName,
    open_study,
    split_names,
)
from ticketdiet.cli.output import end_with, print_or_write_rows, say_what_is_left_out, warn_of_mixed_machines


def results(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    format: RowsFormat = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Show only these columns. cpu, capability, threads, torch, device and seconds, which the manifests "
            "hold, can be named too.",
        ),
    ] = None,
    out: RowsFile = None,
    strict: Strict = False,
) -> None:
    """Print the measurements of a study as tidy rows."""
    from ticketdiet.reports.machine_columns import choose_columns
    from ticketdiet.reports.writing import choose_format

    kind = choose_format(format, out)
    opened = open_study(study, store, settings, limit_arms)
    found = opened.results()
    say_what_is_left_out(opened.name, found.state)
    rows = found.rows if columns is None else choose_columns(found.rows, opened.store, split_names(columns))
    warn_of_mixed_machines(opened, found.plan)
    print_or_write_rows(rows, kind, out)
    end_with(found.state, strict)
