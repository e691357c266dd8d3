"""``ticketdiet compare``: the paired difference of two arms of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from ticketdiet.cli.options import (
    DEFAULT_STORE,
    RowsFile,
    RowsFormat,
    Settings,
    StoreUrl,
    Strict,
    StudyName,
    open_study,
)
from ticketdiet.cli.output import end_with, print_or_write_rows, say_what_is_left_out, warn_of_mixed_machines


def compare(
    study: StudyName,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="The arm to judge.", show_default=False)],
    baseline: Annotated[
        str, typer.Argument(metavar="BASELINE", help="The arm that is subtracted from it.", show_default=False)
    ],
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    metric: Annotated[str, typer.Option(help="What to compare, by its name in `ticketdiet results`.")] = "accuracy",
    split: Annotated[str, typer.Option(help="The split on which it was measured.")] = "test",
    level: Annotated[int | None, typer.Option(min=0, help="Compare only this level. The default is all.")] = None,
    format: RowsFormat = None,
    out: RowsFile = None,
    strict: Strict = False,
) -> None:
    """Compare two arms, paired by replicate: mean difference, interval and exact p-value at every density."""
    from rich.console import Console

    from ticketdiet.core.errors import UnknownName
    from ticketdiet.reports.statistics import compare as compare_arms
    from ticketdiet.reports.table import comparison_table
    from ticketdiet.reports.writing import choose_format

    kind = choose_format(format, out)
    opened = open_study(study, store, settings)
    for name in (arm, baseline):
        if name not in opened.spec.arms:
            raise UnknownName.of("arm", name, opened.spec.arms)
    found = opened.results()
    say_what_is_left_out(opened.name, found.state)
    warn_of_mixed_machines(opened, found.plan)
    compared = compare_arms(found.rows, arm=arm, baseline=baseline, metric=metric, split=split, level=level)
    if kind == "table" and out is None:
        title = f"{opened.name}: {arm} minus {baseline}"
        Console().print(comparison_table(compared, metric=metric, split=split, title=title))
    else:
        print_or_write_rows(compared, kind, out)
    end_with(found.state, strict)
