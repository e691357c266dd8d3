"""Rows into a file, in the format that its name asks for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ticketdiet.core.errors import UserError, shown
from ticketdiet.core.writing import writing
from ticketdiet.reports.table import format_rows, parquet_rows

SUFFIXES = (".parquet", ".csv", ".json")


def check_suffix(path: Path, known: tuple[str, ...] = SUFFIXES) -> None:
    """Refuse a file name that does not say its format: ask before long work, not after.

    Raises:
        UserError: When the name ends in none of ``known``.
    """
    if path.suffix.lower() not in known:
        raise UserError(
            f"the file {shown(str(path))} ends in {shown(path.suffix or 'nothing')}.",
            expected=f"a name that ends in {', '.join(known)}",
            way_out=f"{shown(str(path.with_suffix(known[0]) if path.name else f'rows{known[0]}'))}, say",
        )


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write ``rows`` as Parquet, CSV or JSON, by the ending of ``path``; folders on the way are made.

    Raises:
        UserError: For another ending, when it cannot be written, or when Parquet needs pyarrow that is not there.
    """
    check_suffix(path)
    kind = path.suffix.lower()
    data = parquet_rows(rows) if kind == ".parquet" else format_rows(rows, "csv" if kind == ".csv" else "json").encode()
    write_bytes(data, path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file, making the folders on the way.

    Raises:
        UserError: When it cannot be written.
    """
    with writing(path):
        path.write_bytes(data)
