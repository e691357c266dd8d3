"""Tables of a study: the summary that people read, and tidy rows as CSV, JSON, Parquet or text."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.table import Table

from ticketdiet.core.errors import UserError
from ticketdiet.core.extras import import_extra
from ticketdiet.reports.bounds import bounds_of
from ticketdiet.reports.formats import Format
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.rows import FAMILY
from ticketdiet.reports.statistics import estimate, summarise
from ticketdiet.reports.titled import Grid, TitledTable

MOST_DENSITIES_ACROSS = 6  # in 80 columns


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
        format_cell(mean, std, digits) for mean, std in zip(summary["mean"], summary["std"], strict=True)
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
    if counts.max() == 1:
        return "one replicate, no spread"
    return f"mean ± standard deviation (ddof = 1) over {span(counts)} replicates"


def span(counts: npt.ArrayLike) -> str:
    """Write a range of whole numbers, as in "3" or "2 to 4"."""
    low, high = int(np.min(counts)), int(np.max(counts))
    return str(low) if low == high else f"{low} to {high}"


def study_tables(found: StudyResults) -> tuple[TitledTable, ...]:
    """Return what a run prints at its end: accuracy by density, and the families of a study with children.

    Raises:
        UserError: When no accuracy has been measured yet.
    """
    study = found.plan.study
    accuracy = rich_summary(found.rows, title=f"{found.name}: test accuracy by density")
    if not study.children:
        return (accuracy,)
    question = f"{found.name}: are the dense children connected?"
    return accuracy, family_table(found.rows, title=question, batch_norm=study.measure.batch_norm)


def rich_summary(rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test", title: str = "") -> TitledTable:
    """Return the summary as a table for the terminal, between its title and its caption.

    The number of replicates is beside the arm, and the 95 % interval of the mean under each mean and spread.
    """
    summary = summarise(rows, metric=metric, split=split)
    density = summary.groupby("level")["density"].mean()
    starts = range(0, len(density), MOST_DENSITIES_ACROSS)
    parts = tuple(_summary_part(summary, density.iloc[start : start + MOST_DENSITIES_ACROSS]) for start in starts)
    return TitledTable(
        title, parts, summary_caption(rows, metric=metric, split=split) + _interval_caption(summary["n"])
    )


def _summary_part(summary: pd.DataFrame, density: pd.Series) -> Grid:
    """Return the columns of some levels."""
    lines = []
    for arm in dict.fromkeys(summary["arm"]):
        own = summary[summary["arm"] == arm].set_index("level")
        cells = [_interval_cell(own.loc[level]) if level in own.index else "" for level in density.index]
        lines.append((str(arm), span(own["n"]), *cells))
    headings = ("arm \\ density", "n", *(format_density(density[level]) for level in density.index))
    return Grid(headings, tuple(lines), is_narrow=True)


def family_table(rows: pd.DataFrame, *, title: str = "", batch_norm: str = "") -> TitledTable:
    """Return the barriers of the dense families as a table for the terminal: one line per arm, over its replicates.

    Args:
        rows: Tidy rows of a study.
        title: Line above the table.
        batch_norm: Policy by which the BatchNorm statistics between two networks were had; "": not said.
    """
    families = rows[(rows["kind"] == "barrier") & (rows.get("pair") == FAMILY) & (rows["level"] == 0)]
    if families.empty:
        return TitledTable(title, (), "no dense family can be read")
    tolerance = families["tolerance"].max()
    counts = families.groupby("arm")["replicate"].nunique()
    caption = describe_replicates(counts) + _interval_caption(counts)
    caption += f"; connected: barrier of at most {tolerance:g} nats" + (f"; BatchNorm: {batch_norm}" * bool(batch_norm))
    lines = []
    for arm in dict.fromkeys(families["arm"]):
        own = families[families["arm"] == arm]
        cells = [_family_cell(own, "barrier_mean", split) for split in ("train", "test")]
        lines.append((str(arm), str(counts[arm]), *cells, _family_cell(own, "connected_fraction", "train", 100, 0)))
    headings = ("arm", "n", "barrier, train (nats)", "barrier, test (nats)", "connected, train (%)")
    return TitledTable(title, (Grid(headings, tuple(lines)),), caption)


def _family_cell(rows: pd.DataFrame, metric: str, split: str, scale: float = 1, digits: int = 3) -> str:
    values = rows[(rows["metric"] == metric) & (rows["split"] == split)]["value"]
    if values.empty:
        return ""
    return _interval_cell(pd.Series(vars(estimate(values, bounds=bounds_of(metric)))), scale, digits)


def _interval_cell(found: pd.Series, scale: float = 1, digits: int = 3) -> str:
    """Write mean and spread, and under them the interval of the mean, if there is one."""
    cell = format_cell(scale * found["mean"], scale * found["std"], digits)
    if found["reason"]:
        return cell
    return f"{cell}\n[{scale * found['low']:.{digits}f}, {scale * found['high']:.{digits}f}]"


def _interval_caption(counts: pd.Series) -> str:
    if counts.max() < 2:
        return ""
    return "; in brackets the 95 % t-interval of the mean, none where all values are equal"


def format_rows(rows: pd.DataFrame, kind: Format) -> str:
    """Return tidy rows as text; floats keep every digit in CSV and JSON.

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
        f"Rows cannot be printed as {kind!r}.",
        expected="table, csv or json",
        way_out="write Parquet into a file: --out results.parquet",
    )


def parquet_rows(rows: pd.DataFrame) -> bytes:
    """Return tidy rows as the bytes of a Parquet file.

    Raises:
        UserError: When pyarrow is not installed.
    """
    import_extra("pyarrow", "parquet", other="choose csv or json")
    buffer = io.BytesIO()
    rows.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def format_cell(mean: float, std: float, digits: int, sign: str = "-") -> str:
    """Write a mean and its spread, as in "0.912 ± 0.004"; without a spread the mean alone."""
    return f"{mean:{sign}.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


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
    """Return a table as text, one line per row however long: nothing is cut to the width of a terminal."""
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    console.print(table)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cell(value: object) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    return f"{plain:.6g}" if isinstance(plain, float) else str(plain)
