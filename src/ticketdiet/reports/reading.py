"""From a plan and a store to tidy rows in a table, and what of the study they are."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ticketdiet.core.collecting import without_collector
from ticketdiet.reports.completeness import SoundResults, StudyState
from ticketdiet.reports.families import FamilyResult, read_families
from ticketdiet.reports.measured import Measured, read_measured
from ticketdiet.reports.rows import COLUMNS
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan


@dataclass(frozen=True, eq=False)
class StudyResults:
    """What a store holds of a study: what tables and figures are made from.

    Attributes:
        plan: The study and its stages.
        rows: Tidy rows, as :func:`read_rows` returns them.
        state: Which stages they are of, and which are missing or damaged.
        store: The store, without what is damaged.
    """

    plan: Plan
    rows: pd.DataFrame
    state: StudyState
    store: SoundResults

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.plan.study.study

    @property
    def tolerance(self) -> float:
        """Barrier in nats up to which an example is connected."""
        return self.plan.study.measure.tolerance

    @cached_property
    def families(self) -> list[FamilyResult]:
        """Barriers of the finished dense families, once for each arm and replicate that uses them."""
        return read_families(self.plan, self.store)


def read_study(plan: Plan, store: ResultStore, *, whole: Collection[str] = ()) -> StudyResults:
    """Read the measurements of a study, and what is missing of them.

    A result that turns out to be damaged is left out and named in the state; the others are read all the same.

    Args:
        plan: The study's stages.
        store: Where their results are.
        whole: Kinds of stage of which every byte is checked, for whoever goes on to read their arrays.

    Returns:
        The rows, and the state of every stage.
    """
    return tabulate(read_measured(plan, store, whole=whole))


@without_collector()
def tabulate(measured: Measured) -> StudyResults:
    """Put the rows of a study into a table."""
    rows = measured.rows
    table = pd.DataFrame(rows, columns=[*COLUMNS, "kind", *_extra_columns(rows)])
    table = table.astype({"replicate": "Int64", "level": "Int64", "step": "Int64", "density": "float64"})
    return StudyResults(measured.plan, table, measured.state, measured.store)


def read_rows(plan: Plan, store: ResultStore) -> pd.DataFrame:
    """Read the measurements of the finished stages of a study.

    Args:
        plan: The study's stages.
        store: Where their results are; unfinished ones are passed over. Damaged ones are too, with a warning that
            names them.

    Returns:
        Columns ``study arm replicate level density step metric split value address kind`` and what single metrics add
        (``tolerance``, ``pair``). ``level`` and ``density`` are missing where they have no meaning.
    """
    found = read_study(plan, store)
    for address, reason in found.state.damaged.items():
        warnings.warn(
            f"The rows leave out a damaged result: {plan.stages[address].label} ({address}): {reason}", stacklevel=2
        )
    return found.rows


def _extra_columns(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({key for row in rows for key in row} - {*COLUMNS, "kind"})
