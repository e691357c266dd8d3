"""What a data diet saved: an arm beside a baseline arm, with and without what its scores took."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from ticketdiet.core.errors import check_known
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.spec import Arm
from ticketdiet.studies.stages.pretrain import Pretrain

QUANTITIES = ("steps", "examples", "unique_examples", "flops", "flops_kept", "seconds", "joules")
COLUMNS = ("arm", "baseline", "scope", "quantity", "value", "baseline_value", "saved", "ratio", "n")


def savings(scopes: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare what every arm takes with what a baseline arm takes.

    Args:
        scopes: What the arms take: the scopes of an :class:`~ticketdiet.reports.accounting.Accounting`.
        baseline: Name of the arm to compare with.

    Returns:
        One row per arm, scope and quantity: ``arm baseline scope quantity value baseline_value saved ratio n``. Values
        are means over the ``n`` replicates that both arms have, ``saved`` is the baseline's less the arm's (below 0
        when the arm takes more), ``ratio`` the arm's over the baseline's (NaN over 0). The scopes are
        :data:`~ticketdiet.reports.phases.SCOPES`:

        - ``pretraining``: the dense steps up to the rewinding point alone.
        - ``scoring+pretraining``: with the networks of the scores that chose the subset, in full, although other arms
          may share them.
        - ``network``: with search and sparse training too, but neither children nor measurements.

        Unique examples count an example once, whichever phases of the scope read it.

    Raises:
        UnknownName: When there is no arm called ``baseline``.
    """
    check_known("arm", baseline, set(scopes["arm"]))
    amounts = scopes.astype(dict.fromkeys(QUANTITIES, "float64")).set_index("replicate")
    tables = {(str(arm), str(scope)): own for (arm, scope), own in amounts.groupby(["arm", "phase"], sort=False)}
    rows: list[dict[str, object]] = []
    for (arm, scope), own in tables.items():
        if arm != baseline:
            rows += _rows_of(arm, own, baseline, tables[baseline, scope], scope)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of(
    arm: str, own: pd.DataFrame, baseline: str, others: pd.DataFrame, scope: str
) -> Iterator[dict[str, object]]:
    """Compare two arms over the replicates that both have; both tables have replicates as index."""
    both = own.index.intersection(others.index)
    for quantity in QUANTITIES:
        value, other = (table.loc[both, quantity].mean(skipna=False) for table in (own, others))
        numbers = (value, other, other - value, value / other if other else math.nan, len(both))
        yield dict(zip(COLUMNS, (arm, baseline, scope, quantity, *numbers), strict=True))


def default_baseline(plan: Plan) -> str | None:
    """Return the arm with the most pre-training steps on all of the study's data; None when there is none.

    Of several, one that pre-trains on the labels, has no cheaper search and is no control is preferred, then the first
    of the study.
    """
    steps = {use.arm: stage.steps for stage in plan.of(Pretrain) for use in stage.uses}
    arms = [plan.study.arm(name) for name in plan.study.arms]
    plain = [
        arm
        for arm in arms
        if steps.get(arm.name, 0) and arm.pretrain.subset.is_everything and arm.pretrain.dataset is None
    ]

    def fitness(arm: Arm) -> tuple[int, bool]:
        is_plain = arm.pretrain.objective == "labels" and arm.search is None and not arm.ticket.is_control
        return steps[arm.name], is_plain

    return max(plain, key=fitness).name if plain else None
