"""Section 9: the numbers themselves. Tidy rows as CSV and Parquet inside the page, and tables for LaTeX."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ticketdiet.core.errors import UserError
from ticketdiet.page.inputs import StudyInput
from ticketdiet.reports.statistics import summarise
from ticketdiet.reports.table import format_rows, parquet_rows

if TYPE_CHECKING:
    import pandas as pd

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class LatexTable:
    """A table for a paper.

    Attributes:
        title: What it holds.
        text: LaTeX that needs the package booktabs.
    """

    title: str
    text: str


@dataclass(frozen=True)
class RowSection:
    """The numbers to take along.

    Attributes:
        count: Number of rows.
        columns: Their columns.
        csv: The rows as CSV, compressed with gzip, in base64.
        parquet: The rows as a Parquet file in base64; "" where pyarrow is not installed.
        tables: For LaTeX.
    """

    count: int
    columns: tuple[str, ...]
    csv: str
    parquet: str
    tables: tuple[LatexTable, ...]


def row_section(study: StudyInput) -> RowSection:
    """Return the rows of a study as files, and its summary as LaTeX."""
    rows = study.results.rows
    packed = gzip.compress(format_rows(rows, "csv").encode(), mtime=0)
    has_parquet = find_spec("pyarrow") is not None
    tables = (
        ("Test accuracy by density", "accuracy", "test", 100.0, 1),
        ("Barrier between dense children, training loss in nats", "barrier_mean", "train", 1.0, 3),
    )
    made = (latex_table(rows, *table) for table in tables)
    return RowSection(
        count=len(rows),
        columns=tuple(rows.columns),
        csv=_base64(packed),
        parquet=_base64(parquet_rows(rows)) if has_parquet else "",
        tables=tuple(table for table in made if table is not None),
    )


def latex_table(
    rows: pd.DataFrame, title: str, metric: str, split: str, scale: float = 1.0, digits: int = 3
) -> LatexTable | None:
    """Write arms by densities as LaTeX: mean and half of the 95 % interval, and the number of replicates.

    Args:
        rows: Tidy rows.
        title: Caption of the table.
        metric: Which metric.
        split: Which split.
        scale: From the rows to the table: 100 for percent.
        digits: After the point.

    Returns:
        The table; None when nothing of the metric is measured.
    """
    try:
        summary = summarise(rows, metric=metric, split=split)
    except UserError:
        return None
    density = summary.groupby("level")["density"].mean()
    heads = [rf"{100 * value:.3g}\,\%" for value in density]
    lines = [_latex_row(summary[summary["arm"] == arm], list(density.index), scale, digits) for arm in _arms(summary)]
    unit = r" (\%)" if scale == 100 else ""
    caption = f"{escaped(title)}{unit}: mean $\\pm$ half of the 95\\,\\% $t$-interval over $n$ replicates."
    text = "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{caption}}}",
            f"  \\begin{{tabular}}{{lr{'r' * len(heads)}}}",
            r"    \toprule",
            f"    arm & $n$ & {' & '.join(heads)} \\\\",
            r"    \midrule",
            *(f"    {line} \\\\" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )
    return LatexTable(title, text + "\n")


def escaped(text: str) -> str:
    """Write text so that LaTeX shows it as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def _arms(summary: pd.DataFrame) -> list[str]:
    return [str(arm) for arm in dict.fromkeys(summary["arm"])]


def _latex_row(own: pd.DataFrame, levels: list[int], scale: float, digits: int) -> str:
    by_level = own.set_index("level").to_dict("index")
    low, high = own["n"].min(), own["n"].max()
    n = f"{low}" if low == high else f"{low}--{high}"
    cells = [_latex_cell(by_level.get(level), scale, digits) for level in levels]
    return " & ".join([escaped(str(own["arm"].iloc[0])), n, *cells])


def _latex_cell(row: Mapping[Hashable, Any] | None, scale: float, digits: int) -> str:
    if row is None:
        return "--"
    mean = f"{scale * row['mean']:.{digits}f}"
    if math.isnan(row["low"]):
        return f"${mean}$"
    # An end that was cut to what the metric can be is nearer than half of the interval.
    half = max(row["high"] - row["mean"], row["mean"] - row["low"])
    return f"${mean} \\pm {scale * half:.{digits}f}$"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
