"""``per-example`` and ``geometry``: tidy rows of a study beyond ``results``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.completeness import Strict, end_with, say_what_is_left_out
from ticketdiet.cli.options import (
    DEFAULT_STORE,
    LimitArms,
    RowsFormat,
    Settings,
    StoreUrl,
    Study,
    Tolerance,
    open_plan,
    open_store,
)

if TYPE_CHECKING:
    import pandas as pd

    from ticketdiet.reports.completeness import SoundResults, StudyState
    from ticketdiet.reports.table import Format
    from ticketdiet.studies.planner import Plan

DRAWN_OF_EXAMPLES = ("score", "barrier")
NETWORKS = ("pretrain", "level", "control", "child", "barrier")


class By(enum.StrEnum):
    """What a row of ``per-example`` is."""

    example = "example"
    quantile = "quantile"
    klass = "class"
    step = "step"


PrintAs = Annotated[RowsFormat | None, typer.Option(help="How to print the rows; default table.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write .csv, .json, .parquet or .txt instead of printing the rows.")
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
    format: PrintAs = None,
    out: Out = None,
    strict: Strict = False,
) -> None:
    """Print or write single examples of a study: label, scores, barrier, connected; or which are connected."""
    from ticketdiet.reports.per_example_report import example_rows, first_rows, group_rows

    kind, plan = _format(format, out), open_plan(study, settings, limit_arms)
    results, state = _open_sound(plan, store, DRAWN_OF_EXAMPLES)
    if by is By.example:
        rows = example_rows(plan, results, split=split, tolerance=tolerance)
    elif by is By.step:
        rows = first_rows(plan, results, tolerance=tolerance)
    elif by is By.klass:
        rows = group_rows(plan, results, "class", tolerance=tolerance)
    else:
        rows = group_rows(plan, results, "quantile", score=score, quantiles=quantiles, tolerance=tolerance)
    _give(rows, kind, out)
    end_with(state, strict)


def geometry(
    study: Study,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    by_tensor: Annotated[bool, typer.Option("--by-tensor", help="Signs and overlaps also of each tensor.")] = False,
    format: PrintAs = None,
    out: Out = None,
    strict: Strict = False,
) -> None:
    """Print how far networks of a study went, the angles between children, and the overlap of masks."""
    from ticketdiet.reports.geometry_report import geometry_rows

    kind, plan = _format(format, out), open_plan(study, settings, limit_arms)
    results, state = _open_sound(plan, store, NETWORKS)
    _give(geometry_rows(plan, results, by_tensor=by_tensor), kind, out)
    end_with(state, strict)


def _open_sound(plan: Plan, store: str, kinds: tuple[str, ...]) -> tuple[SoundResults, StudyState]:
    """Open what is sound of these kinds of stage, and say what is left out."""
    from ticketdiet.reports.completeness import SoundResults, study_state

    results = open_store(store)
    state = study_state(plan, results, kinds=kinds, whole=kinds)
    say_what_is_left_out(plan, state)
    return SoundResults(results, state), state


def _format(format: RowsFormat | None, out: Path | None) -> Format:
    from ticketdiet.reports.writing import choose_format

    return choose_format(format.value if format else None, out)


def _give(rows: pd.DataFrame, kind: Format, out: Path | None) -> None:
    from ticketdiet.cli.summary import give_rows

    give_rows(rows, kind, out)
