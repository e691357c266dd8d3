"""Rows into a file, in the format that its name asks for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ticketdiet.core.errors import UserError, shown
from ticketdiet.core.writing import writing
from ticketdiet.reports.formats import Format
from ticketdiet.reports.table import format_rows, parquet_rows

FORMATS: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".txt": "table"}
SUFFIXES = tuple(FORMATS)


def check_suffix(path: Path, known: tuple[str, ...] = SUFFIXES) -> None:
    """Refuse a file name that does not say its format: ask before long work, not after.

    Raises:
        UserError: When the name ends in none of ``known``.
    """
    if path.suffix.lower() not in known:
        named = path.with_suffix(known[0]) if path.stem.strip(".") else path / f"rows{known[0]}"
        raise UserError(
            f"The file {shown(str(path))} ends in {shown(path.suffix or 'nothing')}.",
            expected=f"a name that ends in {', '.join(known)}",
            way_out=f"for example {shown(str(named))}",
        )


def choose_format(kind: Format | None, out: Path | None) -> Format:
    """Choose the format of rows by what was asked for and by the name of the file; the two have to agree.

    Args:
        kind: The format asked for, None for none in particular.
        out: The file to write, None for printing.

    Returns:
        The format: a table when nothing says otherwise.

    Raises:
        UserError: When the name says no format, or another than ``kind``.
    """
    if out is None:
        return kind or "table"
    check_suffix(out)
    named = FORMATS[out.suffix.lower()]
    if kind is not None and kind != named:
        suffix = next(ending for ending, format_ in FORMATS.items() if format_ == kind)
        raise UserError(
            f"Got --format {kind} for the file {out}, whose name says {named}.",
            expected="a format and a file name that agree",
            way_out=f"--out {out.with_suffix(suffix)}, or leave --format out",
        )
    return named


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write ``rows`` as Parquet, CSV, JSON or text, by the ending of ``path``; folders on the way are made.

    Raises:
        UserError: For another ending, when it cannot be written, or when Parquet needs pyarrow that is not there.
    """
    kind = choose_format(None, path)
    write_bytes(parquet_rows(rows) if kind == "parquet" else format_rows(rows, kind).encode(), path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file, making the folders on the way.

    Raises:
        UserError: When it cannot be written.
    """
    with writing(path):
        path.write_bytes(data)
