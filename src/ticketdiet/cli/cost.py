"""``ticketdiet cost``: what each arm of a study takes, phase by phase, and what its diet saved."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ticketdiet.cli.options import DEFAULT_STORE, LimitArms, Settings, StoreUrl, StudyName, open_study
from ticketdiet.cli.output import new_table, warn

if TYPE_CHECKING:
    import pandas as pd

    from ticketdiet.reports.accounting import Accounting

SHOWN = ("steps", "examples", "unique_examples", "flops", "flops_kept", "seconds", "joules")
HEADINGS = ("steps", "examples", "unique", "FLOPs", "on kept weights", "time", "energy")


def cost(
    study: StudyName,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
    limit_arms: LimitArms = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="ARM",
            help="Count savings from this arm. The default is the arm with the most pre-training on all data.",
        ),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(min=0, help="Count what leads to the networks of this level alone. The default is all levels."),
    ] = None,
    format: Annotated[
        Literal["table", "csv", "json"], typer.Option(help="How to print it; csv has one row per replicate and phase.")
    ] = "table",
) -> None:
    """Print what each arm takes, phase by phase, and what its diet saved."""
    found = open_study(study, store, settings, limit_arms).cost(level)
    if format == "csv":
        from ticketdiet.reports.table import format_rows

        typer.echo(format_rows(found.lines(), "csv"), nl=False)
        return
    saved = None if baseline is None and found.baseline is None else found.saved(baseline)
    if format == "json":
        typer.echo(json.dumps(_as_json(found, saved), indent=1, allow_nan=False))
    else:
        _print(found, saved)


def _as_json(found: Accounting, saved: pd.DataFrame | None) -> dict[str, Any]:
    from ticketdiet.reports.table import format_rows

    def rows(frame: pd.DataFrame | None) -> Any:
        return [] if frame is None else json.loads(format_rows(frame, "json"))

    whole = {name: _finite(asdict(what)) for name, what in (("shared", found.shared), ("total", found.total))}
    return {"study": found.study, "level": found.level, "rows": rows(found.rows), **whole, "saved": rows(saved)}


def _finite(amounts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in amounts.items()}


def _print(found: Accounting, saved: pd.DataFrame | None) -> None:
    from ticketdiet.reports.table import whole_lines

    read = found.rows["joules"].notna().any()
    headings, names = (HEADINGS, SHOWN) if read else (HEADINGS[:-1], SHOWN[:-1])
    table = new_table("arm", "phase", ">n", ">done", *(f">{heading}" for heading in headings))
    for cells in _arm_lines(found.rows, names):
        table.add_row(*cells)
    for label, amounts in (("counted more than once", found.shared), ("the whole study", found.total)):
        numbers = [_cell(name, getattr(amounts, name)) for name in names]
        table.add_row(label, "", "", f"{amounts.done}/{amounts.stages}", *numbers)
    which = "all levels" if found.level is None else f"level {found.level}"
    typer.echo(f"{found.study}, {which}: mean over n replicates of each arm, shared work counted in full")
    typer.echo(whole_lines(table), nl=False)
    if read and found.rows["is_estimated"].any():
        warn("several processes shared an energy counter, so each was given an equal part of what it counted.")
    if saved is not None and not saved.empty:
        _print_saved(saved)


def _arm_lines(rows: pd.DataFrame, names: tuple[str, ...]) -> Iterator[list[str]]:
    """One line per arm and phase: means over replicates, NaN where one of them is."""
    numeric = rows.astype(dict.fromkeys((*names, "done", "stages"), "float64"))
    last = None
    for (arm, phase), own in numeric.groupby(["arm", "phase"], sort=False):
        means = own[list(names)].mean(skipna=False)
        done = f"{int(own['done'].sum())}/{int(own['stages'].sum())}"
        cells = [_cell(name, means[name]) for name in names]
        yield ["" if arm == last else str(arm), str(phase).replace("_", " "), str(len(own)), done, *cells]
        last = arm


def _print_saved(saved: pd.DataFrame) -> None:
    """One line per arm and scope: what it saved of each quantity that is known, and how much of it is left."""
    from ticketdiet.reports.table import whole_lines

    known = [name for name in SHOWN if saved.loc[saved["quantity"] == name, "saved"].notna().any()]
    table = new_table("arm", "scope", *(f">{HEADINGS[SHOWN.index(name)]}" for name in known))
    last = None
    for (arm, scope), own in saved.groupby(["arm", "scope"], sort=False):
        lines = {row["quantity"]: row for row in own.to_dict("records")}
        cells = [_saved_cell(name, lines[name]["saved"], lines[name]["ratio"]) for name in known]
        table.add_row("" if arm == last else str(arm), str(scope), *cells)
        last = arm
    typer.echo(f"\nsaved beside {saved['baseline'].iloc[0]}, in brackets the ratio of the arm to it")
    typer.echo(whole_lines(table), nl=False)


def _saved_cell(name: str, saved: float, ratio: float) -> str:
    if math.isnan(saved):
        return ""
    sign = "-" if saved < 0 else ""
    return f"{sign}{_cell(name, abs(saved))}" + ("" if math.isnan(ratio) else f" ({ratio:.3g}x)")


def _cell(name: str, value: float) -> str:
    """Write an amount for people."""
    if math.isnan(value):
        return ""
    if name.startswith("flops"):
        return f"{value:.3g}"
    if name == "seconds":
        return _time(value)
    return f"{value:.4g} J" if name == "joules" else f"{value:,.0f}"


def _time(seconds: float) -> str:
    from ticketdiet.studies.time_left import duration

    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
