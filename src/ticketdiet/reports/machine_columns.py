"""On which machines the results of a study were made, and how long it took: as columns of its rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pandas as pd

from ticketdiet.core.errors import check_known
from ticketdiet.reports.machines import part
from ticketdiet.store.results import ResultStore

PROVENANCE_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "cpu": lambda provenance: part(provenance, "machine").get("cpu"),
    "capability": lambda provenance: part(provenance, "machine").get("capability"),
    "threads": lambda provenance: part(provenance, "machine").get("threads"),
    "torch": lambda provenance: part(provenance, "versions").get("torch"),
    "device": lambda provenance: part(provenance, "machine").get("device"),
    "seconds": lambda provenance: provenance.get("seconds"),
}


def choose_columns(rows: pd.DataFrame, store: ResultStore, columns: Collection[str]) -> pd.DataFrame:
    """Return the rows with these columns alone, in this order; those of ``PROVENANCE_COLUMNS`` are read from the store.

    Args:
        rows: Tidy rows of a study.
        store: Where their results are.
        columns: Names of columns of the rows, or of ``PROVENANCE_COLUMNS``.

    Raises:
        UnknownName: For a column that is neither.
        DamagedResult: When a manifest is damaged.
    """
    for name in columns:
        check_known("column", name, {*rows.columns, *PROVENANCE_COLUMNS})
    asked = [name for name in columns if name not in rows]
    of_machine = {
        address: [PROVENANCE_COLUMNS[name](store.manifest(address).provenance) for name in asked]
        for address in (rows["address"].unique() if asked else ())
    }
    found = pd.DataFrame.from_dict(of_machine, orient="index", columns=asked).reindex(rows["address"])
    if "threads" in found:
        found = found.astype({"threads": "Int64"})
    return pd.concat([rows, found.set_axis(rows.index)], axis=1)[list(columns)]
