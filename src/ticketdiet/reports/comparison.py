"""The comparison of two arms for people: a table with one line per density, and what it comes to in sentences."""

from __future__ import annotations

import math

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ticketdiet.core.errors import UserError
from ticketdiet.reports.curves import BETTER, MARGIN, AreaBetween, MatchingDensity, area_between, matching_density
from ticketdiet.reports.table import format_cell, format_density
from ticketdiet.reports.titled import titled


def comparison_table(
    compared: pd.DataFrame,
    *,
    metric: str,
    split: str,
    title: str = "",
    digits: int = 4,
    sentences: tuple[str, ...] = (),
    other: str = "",
) -> Group:
    """Return the comparison of two arms as a table for the terminal: one line per level, and sentences below.

    Args:
        compared: What :func:`~ticketdiet.reports.statistics.compare` returns for two arms.
        metric: What was compared, for the caption.
        split: On which split.
        title: Line above the table.
        digits: Digits after the point.
        sentences: What else to say below it, for example :func:`curve_sentences`.
        other: Name of the study that has the baseline, if it is another one.
    """
    several = compared["p_value"].notna().sum() > 1
    arm, baseline = str(compared["arm"].iloc[0]), _named(str(compared["baseline"].iloc[0]), other)
    table = Table(padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("level", justify="right", no_wrap=True)
    table.add_column("density", justify="right", no_wrap=True)
    table.add_column(Text(f"{arm}\n{baseline}"), justify="right")
    table.add_column("difference\n95 % interval", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("p\ncorrected p" if several else "p", justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for row in compared.to_dict("records"):
        table.add_row(*map(Text, _cells(row, digits, several)))
    lines = [_method(compared, metric, split), *_remarks(compared), _count(compared, arm, baseline), *sentences]
    return titled([table], title, "\n".join(lines))


def _cells(row: dict, digits: int, several: bool) -> list[str]:
    """Write the numbers of a level, in the order of the columns."""
    difference = format_cell(row["difference"], row["std"], digits, sign="+")
    if not math.isnan(row["low"]):
        difference += f"\n[{row['low']:+.{digits}f}, {row['high']:+.{digits}f}]"
    p_values = [row[name] for name in ("p_value", "corrected_p")[: 1 + several]]
    return [
        str(row["level"]),
        format_density(row["density"]),
        f"{row['mean']:.{digits}f}\n{row['baseline_mean']:.{digits}f}",
        difference,
        str(row["n"]),
        "\n".join(f"{p:.3g}" for p in p_values if not math.isnan(p)),
        row["outcome"],
    ]


def _method(compared: pd.DataFrame, metric: str, split: str) -> str:
    text = f"{split} {metric}, paired by replicate: mean difference ± standard deviation (ddof = 1)"
    text += ", BCa bootstrap interval"
    tested = int(compared["p_value"].notna().sum())
    if tested:
        text += "; p: exact sign-flip test, two-sided"
    if tested > 1:
        text += f"; corrected p: after Holm for {tested} comparisons (--at DENSITY compares one alone)"
    return text + "; a difference is declared when the interval excludes 0 and p is at most 0.05"


def _remarks(compared: pd.DataFrame) -> list[str]:
    """Say of which levels nothing is declared, and why; one line per reason."""
    levels: dict[str, list[str]] = {}
    for row in compared.to_dict("records"):
        if row["reason"]:
            levels.setdefault(row["reason"], []).append(str(row["level"]))
    return [f"level{'s' * (len(at) > 1)} {', '.join(at)}: {reason}" for reason, at in levels.items()]


def _count(compared: pd.DataFrame, arm: str, baseline: str) -> str:
    counts = {name: int((compared["outcome"] == name).sum()) for name in ("above", "below", "undecided")}
    densities = f"{len(compared)} densit{'y' if len(compared) == 1 else 'ies'}"
    return (
        f"{arm} is above {baseline} at {counts['above']} of {densities}, below it at {counts['below']}, and "
        f"undecided at {counts['undecided']}."
    )


def curve_sentences(
    rows: pd.DataFrame,
    *,
    arm: str,
    baseline: str,
    metric: str = "accuracy",
    split: str = "test",
    margin: float = MARGIN,
    others: pd.DataFrame | None = None,
    other: str = "",
) -> tuple[str, ...]:
    """Say in sentences how sparse each of two arms matches its dense networks, and the area between their curves.

    Args:
        rows: Tidy rows.
        arm: The arm to judge.
        baseline: The arm that is subtracted from it.
        metric: Which metric.
        split: Which split.
        margin: As in :func:`~ticketdiet.reports.curves.matching_density`.
        others: Tidy rows of the baseline, where it belongs to another study.
        other: Name of that study.

    Returns:
        Sentences. Where a number cannot be given, one says why. Metrics that cannot match have no matching density.
    """
    found = []
    if metric.removesuffix("_recalibrated") in BETTER:
        for name, source, study in ((arm, rows, ""), (baseline, rows if others is None else others, other)):
            try:
                matching = matching_density(source, arm=name, margin=margin, metric=metric, split=split)
                found.append(_matching_sentence(matching, _named(name, study)))
            except UserError as error:
                found.append(error.came)
    try:
        area = area_between(rows, arm=arm, baseline=baseline, metric=metric, split=split, others=others)
        found.append(_area_sentence(area, arm, _named(baseline, other)))
    except UserError as error:
        found.append(error.came)
    return tuple(found)


def _named(arm: str, study: str) -> str:
    return f"{arm} of {study}" if study else arm


def _matching_sentence(found: MatchingDensity, arm: str) -> str:
    start = f"{arm} matches its dense networks within {found.margin:g}"
    if found.level == 0:
        text = f"{start} at no sparser density"
    else:
        text = f"{start} down to a density of {format_density(found.density)}"
    text += f" (n = {found.n}"
    if not math.isnan(found.low):
        text += f", 95 % interval {format_density(found.low)} to {format_density(found.high)}"
    text += ")"
    if found.is_sparsest:
        text += ", which is the sparsest that was measured"
    if found.gaps:
        several = len(found.gaps) > 1
        text += f"; level{'s' * several} {', '.join(map(str, found.gaps))} before it do{'es' * (not several)} not match"
    return f"{text}."


def _area_sentence(area: AreaBetween, arm: str, baseline: str, digits: int = 4) -> str:
    ends = f"{format_density(area.densities[0])} to {format_density(area.densities[-1])}"
    found = area.difference
    text = f"Averaged over the logarithm of density, {ends}, {arm} minus {baseline} is "
    text += format_cell(found.mean, found.std, digits, sign="+")
    if not math.isnan(found.low):
        text += f" [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
    decided = f"n = {found.n}, p = {found.p_value:.3g}: {arm} is {found.outcome} {baseline}"
    return f"{text}, {found.reason or decided}."
