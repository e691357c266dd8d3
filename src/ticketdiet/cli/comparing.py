"""``compare``: the paired difference of two arms of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticketdiet.cli.completeness import Strict, end_with, say_what_is_left_out
from ticketdiet.cli.machines import warn_of_mixed_machines
from ticketdiet.cli.options import DEFAULT_STORE, RowsFormat, Settings, StoreUrl, Study, open_plan, open_store


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(compare)


def compare(
    study: Study,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="Name of the arm.", show_default=False)],
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Arm to subtract.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    metric: Annotated[str, typer.Option(help="Which metric, as `results` calls it.")] = "accuracy",
    split: Annotated[str, typer.Option(help="On which split it was measured.")] = "test",
    level: Annotated[int | None, typer.Option(min=0, help="Only this level; default all.")] = None,
    format: Annotated[RowsFormat | None, typer.Option(help="How to print the comparison; default table.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write .csv, .json, .parquet or .txt instead of printing.")
    ] = None,
    strict: Strict = False,
) -> None:
    """Compare two arms, paired by replicate: mean difference, interval and exact p-value at every density."""
    from ticketdiet.cli.summary import give_rows, print_comparison
    from ticketdiet.core.errors import UnknownName
    from ticketdiet.reports.reading import read_study
    from ticketdiet.reports.statistics import compare as compare_arms
    from ticketdiet.reports.writing import choose_format

    kind = choose_format(format.value if format else None, out)
    plan = open_plan(study, settings)
    for name in (arm, baseline):
        if name not in plan.study.arms:
            raise UnknownName.of("arm", name, plan.study.arms)
    kept_in = open_store(store)
    found = read_study(plan, kept_in)
    say_what_is_left_out(plan, found.state)
    warn_of_mixed_machines(plan, kept_in)
    compared = compare_arms(found.rows, arm=arm, baseline=baseline, metric=metric, split=split, level=level)
    if kind == "table" and out is None:
        print_comparison(compared, plan.study.study, metric, split)
    else:
        give_rows(compared, kind, out)
    end_with(found.state, strict)
