"""``ticketdiet per-example``: single training examples of a study as tidy rows, or groups of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

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
    Tolerance,
    open_study,
)
from ticketdiet.cli.output import end_with, print_or_write_rows, sound_results
from ticketdiet.reports.formats import Grouping

if TYPE_CHECKING:
    import pandas as pd


def per_example(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    by: Annotated[
        Grouping,
        typer.Option(
            help="example: one row per example and family, with scores and barrier. quantile or class: the connected "
            "fraction of each group. step: which examples are connected first."
        ),
    ] = "example",
    split: Annotated[str, typer.Option(help="With --by example: train, test or validation.")] = "train",
    score: Annotated[
        str | None, typer.Option(help="With --by quantile: group by this score. The default is all.")
    ] = None,
    quantiles: Annotated[int, typer.Option(min=1, help="With --by quantile: the number of groups.")] = 10,
    tolerance: Tolerance = None,
    format: RowsFormat = None,
    out: RowsFile = None,
    strict: Strict = False,
) -> None:
    """Print or write single examples of a study with label, scores and barrier, or which of them are connected."""
    from ticketdiet.reports.per_example_report import example_rows, first_rows, group_rows
    from ticketdiet.reports.writing import choose_format

    makers: dict[Grouping, Callable[..., pd.DataFrame]] = {
        "example": partial(example_rows, split=split),
        "quantile": partial(group_rows, by="quantile", score=score, quantiles=quantiles),
        "class": partial(group_rows, by="class"),
        "step": first_rows,
    }
    kind = choose_format(format, out)
    plan, results, state = sound_results(open_study(study, store, settings, limit_arms), ("score", "barrier"))
    print_or_write_rows(makers[by](plan, results, tolerance=tolerance), kind, out)
    end_with(state, strict)
