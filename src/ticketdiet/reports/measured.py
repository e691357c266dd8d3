"""From a plan and a store to plain rows: every measurement of every finished stage, once for each arm that uses it.

All that is read is checked. It needs no library of tables, so that a run that finds nothing to do says so at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ticketdiet.core.collecting import without_collector
from ticketdiet.core.errors import TicketDietError
from ticketdiet.reports.completeness import SoundResults, StudyState, study_state
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage


@dataclass(frozen=True, eq=False)
class Measured:
    """What a store holds of a study, before it is a table.

    Attributes:
        plan: The study and its stages.
        rows: Column -> value for each measurement; a column that a row lacks has no meaning there.
        state: Which stages they are of, and which are missing or damaged.
        store: The store, without what is damaged.
    """

    plan: Plan
    rows: list[dict[str, Any]]
    state: StudyState
    store: SoundResults


@without_collector()
def read_measured(plan: Plan, store: ResultStore, *, whole: Collection[str] = ()) -> Measured:
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
    state = state.with_damage(damage)
    return Measured(plan, rows, state, SoundResults(store, state))


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
