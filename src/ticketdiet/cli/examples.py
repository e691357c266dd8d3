"""``per-example`` and ``geometry``: tidy rows of a study beyond ``results``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, Study, Tolerance, open_plan, open_store


class By(enum.StrEnum):
    """What a row of ``per-example`` is."""

    example = "example"
    quantile = "quantile"
    klass = "class"
    step = "step"


class Format(enum.StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"


PrintAs = Annotated[Format, typer.Option(help="How to print the rows.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write .parquet, .csv or .json instead of printing the rows.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("per-example")(per_example)
    app.command()(geometry)


def per_example(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    by: Annotated[
        By,
        typer.Option(
            help="example: scores and barriers of each; quantile, class: connected share by quantile of a score, by "
            "class; step: which are connected first."
        ),
    ] = By.example,
    split: Annotated[str, typer.Option(help="With --by example: train, test or validation.")] = "train",
    score: Annotated[str | None, typer.Option(help="With --by quantile: this score; default all.")] = None,
    quantiles: Annotated[int, typer.Option(min=1, help="With --by quantile: groups of equal size.")] = 10,
    tolerance: Tolerance = None,
    format: PrintAs = Format.table,
    out: Out = None,
) -> None:
    """Print or write single examples of a study: label, scores, barrier, connected; or which are connected."""
    from ticketdiet.reports.per_example_report import example_rows, first_rows, group_rows

    _check(out)
    plan, results = open_plan(study, settings, limit_arms), open_store(store)
    if by is By.example:
        rows = example_rows(plan, results, split=split, tolerance=tolerance)
    elif by is By.step:
        rows = first_rows(plan, results, tolerance=tolerance)
    elif by is By.klass:
        rows = group_rows(plan, results, "class", tolerance=tolerance)
    else:
        rows = group_rows(plan, results, "quantile", score=score, quantiles=quantiles, tolerance=tolerance)
    _give(rows, format, out)


def geometry(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    by_tensor: Annotated[bool, typer.Option("--by-tensor", help="Signs and overlaps also of each tensor.")] = False,
    format: PrintAs = Format.table,
    out: Out = None,
) -> None:
    """Print how far networks of a study went, the angles between children, and the overlap of masks."""
    from ticketdiet.reports.geometry_report import geometry_rows

    _check(out)
    plan, results = open_plan(study, settings, limit_arms), open_store(store)
    _give(geometry_rows(plan, results, by_tensor=by_tensor), format, out)


def _check(out: Path | None) -> None:
    if out is not None:
        from ticketdiet.reports.writing import check_suffix

        check_suffix(out)


def _give(rows: Any, format: Format, out: Path | None) -> None:
    """Print a table of rows, or write it and say where."""
    if out is None:
        from ticketdiet.cli.summary import print_rows

        print_rows(rows, format.value, None)
        return
    from ticketdiet.reports.writing import write_rows

    write_rows(rows, out)
    typer.echo(f"{len(rows):,} rows: {out}")
