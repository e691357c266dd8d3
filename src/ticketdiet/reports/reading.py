"""From a plan and a store to tidy rows: every measurement of every finished stage, once for each arm that uses it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ticketdiet.core.collecting import without_collector
from ticketdiet.core.errors import TicketDietError
from ticketdiet.reports.completeness import SoundResults, StudyState, study_state
from ticketdiet.reports.families import FamilyResult, read_families
from ticketdiet.reports.rows import COLUMNS
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage


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


@without_collector()
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
    state = study_state(plan, store, whole=whole)
    store.fetch(state.sound)
    rows: list[dict[str, Any]] = []
    damage: dict[str, str] = {}
    for address, stage in plan.stages.items():
        if address not in state.sound:
            continue
        try:
            rows += list(_rows_of(stage, store, plan))
        except TicketDietError as error:
            damage[address] = store.inspect(address).reason or error.came.removesuffix(".")
    table = pd.DataFrame(rows, columns=[*COLUMNS, "kind", *_extra_columns(rows)])
    table = table.astype({"replicate": "Int64", "level": "Int64", "step": "Int64", "density": "float64"})
    state = state.with_damage(damage)
    return StudyResults(plan, table, state, SoundResults(store, state))


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
