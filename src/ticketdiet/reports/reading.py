"""From a plan and a store to tidy rows: every measurement of every finished stage, once for each arm that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ticketdiet.reports.rows import COLUMNS
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.planner import Plan
from ticketdiet.studies.stages import Stage


def read_rows(plan: Plan, store: ResultStore) -> pd.DataFrame:
    """Read the measurements of the finished stages of a study.

    Args:
        plan: The study's stages.
        store: Where their results are; unfinished ones are passed over.

    Returns:
        Columns ``study arm replicate level density step metric split value address kind`` and what single metrics add
        (``tolerance``, ``pair``). ``level`` and ``density`` are missing where they have no meaning.

    Raises:
        DamagedResult: When a result does not match its checksums.
    """
    rows = [row for stage in plan.stages.values() if store.has(stage.address) for row in _rows_of(stage, store, plan)]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "kind", *_extra_columns(rows)])
    return table.astype({"replicate": "Int64", "level": "Int64", "step": "Int64", "density": "float64"})


def _rows_of(stage: Stage, store: ResultStore, plan: Plan) -> Iterator[dict[str, Any]]:
    measured = store.document(stage.address, "rows")
    if not measured:
        return
    density = store.document(stage.address, "facts").get("density")
    for use in stage.uses:
        if use.through:
            continue
        who = {
            "study": plan.study.study,
            "arm": use.arm,
            "replicate": use.replicate if use.replicate >= 0 else None,
            "level": use.level if use.level >= 0 else None,
            "density": density,
            "address": stage.address,
            "kind": stage.kind,
        }
        for row in measured:
            yield who | row


def _extra_columns(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({key for row in rows for key in row} - {*COLUMNS, "kind"})
