"""Tables of a study: the summary that people read, and tidy rows as CSV, JSON, Parquet or text."""

from __future__ import annotations

import io
import json
import math
from typing import Literal

import pandas as pd
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ticketdiet.core.errors import UserError
from ticketdiet.reports.statistics import summarise

Format = Literal["table", "csv", "json", "parquet"]


def format_density(density: float) -> str:
    """Write a density for people: ``0.512`` as "51.2 %", ``0.0352`` as "3.5 %"."""
    percent = 100 * density
    return f"{percent:.0f} %" if percent >= 99.95 else f"{percent:.1f} %" if percent >= 0.95 else f"{percent:.2g} %"


def summary_table(
    rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test", digits: int = 3
) -> pd.DataFrame:
    """Return arms by densities, each cell "mean ± sample standard deviation" over replicates (ddof = 1).

    Returns:
        Index ``arm`` in the study's order, columns densities from dense to sparse as "51.2 %"; "" where nothing is
        finished.
    """
    summary = summarise(rows, metric=metric, split=split)
    density = summary.groupby("level")["density"].mean()
    summary["cell"] = [
        _format_cell(mean, std, digits) for mean, std in zip(summary["mean"], summary["std"], strict=True)
    ]
    cells = summary.pivot(index="arm", columns="level", values="cell")
    cells = cells.reindex(list(dict.fromkeys(summary["arm"]))).fillna("")
    cells.columns = pd.Index([format_density(density[level]) for level in cells.columns], name="density")
    return cells


def summary_caption(rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test") -> str:
    """Say what the cells of ``summary_table`` are, and over how many replicates."""
    return f"{split} {metric}: {describe_replicates(summarise(rows, metric=metric, split=split)['n'])}"


def describe_replicates(counts: pd.Series) -> str:
    """Say over how many replicates a summary goes, as in "mean ± std (ddof = 1) over 2 to 4 replicates"."""
    low, high = int(counts.min()), int(counts.max())
    if high == 1:
        return "one replicate, no spread"
    number = str(high) if low == high else f"{low} to {high}"
    return f"mean ± standard deviation (ddof = 1) over {number} replicates"


def rich_summary(rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test", title: str = "") -> Group:
    """Return the summary as a table for the terminal, between its title and its caption."""
    cells = summary_table(rows, metric=metric, split=split)
    caption = summary_caption(rows, metric=metric, split=split)
    table = Table()
    table.add_column("arm \\ density", no_wrap=True)
    for column in cells.columns:
        table.add_column(str(column), justify="right")
    for arm, values in cells.iterrows():
        table.add_row(str(arm), *values)
    return _titled(table, title, caption)


def family_table(rows: pd.DataFrame, *, title: str = "", batch_norm: str = "") -> Group:
    """Return the barriers of the dense families as a table for the terminal: one line an arm, means over replicates.

    Args:
        rows: Tidy rows of a study.
        title: Line above the table.
        batch_norm: Policy by which the BatchNorm statistics between two networks were had; "": not said.
    """
    families = rows[(rows["kind"] == "barrier") & (rows.get("pair") == "family") & (rows["level"] == 0)]
    tolerance = families["tolerance"].max()
    table = Table()
    caption = f"means over replicates; connected: barrier of at most {tolerance:g} nats"
    caption += f"; BatchNorm: {batch_norm}" if batch_norm else ""
    columns = [("barrier_mean", split) for split in ("train", "test")] + [("connected_share", "train")]
    for heading in ("arm", "barrier, train (nats)", "barrier, test (nats)", "connected, train"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for arm in dict.fromkeys(families["arm"]):
        own = families[families["arm"] == arm]
        means = [own[(own["metric"] == m) & (own["split"] == s)]["value"].mean() for m, s in columns]
        table.add_row(str(arm), f"{means[0]:.3f}", f"{means[1]:.3f}", f"{100 * means[2]:.0f} %")
    return _titled(table, title, caption)


def _titled(table: Table, title: str, caption: str) -> Group:
    # As lines of their own: rich wraps the title and caption of a table to the table's width.
    lines = [Text(title, style="table.title")] if title else []
    return Group(*lines, table, Text(caption, style="table.caption"))


def format_rows(rows: pd.DataFrame, kind: Format) -> str:
    """Write tidy rows as text; floats keep every digit in CSV and JSON.

    Raises:
        UserError: When ``kind`` is ``"parquet"``, which is no text; see ``parquet_rows``.
    """
    if kind == "csv":
        return rows.to_csv(index=False, lineterminator="\n")
    if kind == "json":
        return _json_rows(rows)
    if kind == "table":
        return _text_table(rows)
    raise UserError(
        f"rows cannot be printed as {kind!r}.",
        expected="table, csv or json",
        way_out="write Parquet into a file: --out results.parquet",
    )


def parquet_rows(rows: pd.DataFrame) -> bytes:
    """Write tidy rows as Parquet.

    Raises:
        UserError: When pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            "Parquet needs pyarrow, which is not installed.",
            expected="the extra `parquet`",
            way_out="pip install 'ticketdiet[parquet]', or choose csv or json",
        ) from error
    buffer = io.BytesIO()
    rows.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _format_cell(mean: float, std: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


def _json_rows(rows: pd.DataFrame) -> str:
    # pandas' own writer rounds to 15 digits; JSON has no NaN.
    records = [{name: _plain(value) for name, value in record.items()} for record in rows.to_dict("records")]
    lines = [json.dumps(record, allow_nan=False, ensure_ascii=False) for record in records]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _plain(value: object) -> object:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    item = value.item() if hasattr(value, "item") else value
    return None if isinstance(item, float) and not math.isfinite(item) else item


def _text_table(rows: pd.DataFrame) -> str:
    table = Table(box=None, pad_edge=False)
    for name, dtype in rows.dtypes.items():
        table.add_column(str(name), justify="right" if pd.api.types.is_numeric_dtype(dtype) else "left", no_wrap=True)
    for record in rows.itertuples(index=False):
        table.add_row(*map(_cell, record))
    return whole_lines(table)


def whole_lines(table: Table) -> str:
    """Return a table as text, a line a row however long: nothing is cut to the width of a terminal."""
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    console.print(table)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cell(value: object) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    return f"{plain:.6g}" if isinstance(plain, float) else str(plain)
