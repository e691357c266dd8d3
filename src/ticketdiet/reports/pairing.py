"""Which numbers of two arms belong together: those of one replicate at one density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ticketdiet.core.errors import UserError
from ticketdiet.reports.bounds import EQUAL
from ticketdiet.reports.rows import arm_order

if TYPE_CHECKING:
    from ticketdiet.studies.spec import StudySpec

Floats = NDArray[np.float64]
NEAR = 0.02  # relative: densities nearer than this are one density; pruning rules differ by a few weights


@dataclass(frozen=True, eq=False)
class PairedLevel:
    """The values of two arms at one density, replicate by replicate.

    Attributes:
        level: Level of the arm.
        density: Its mean density over the replicates.
        replicates: The replicates that both arms have, in order: (study, number), or the number alone.
        values: float64 (n,): values of the arm.
        others: float64 (n,): values of the other arm.
    """

    level: int
    density: float
    replicates: tuple[tuple[object, ...], ...]
    values: Floats
    others: Floats


def pair_levels(
    final: pd.DataFrame, arm: str, baseline: str, *, others: pd.DataFrame, within_study: bool
) -> list[PairedLevel]:
    """Pair two arms by replicate and density.

    Each level of the arm goes with the level of the baseline whose mean density is nearest, if that is within 2 %: arms
    and studies may prune other fractions. Levels and replicates that only one arm has are left out.

    Args:
        final: One row per arm, replicate and level, as :func:`~ticketdiet.reports.rows.final_rows` returns them.
        arm: Name of the arm.
        baseline: Name of the arm that it is paired with.
        others: The rows that have the baseline, likewise.
        within_study: Pair replicates of one study only; otherwise by their number alone.

    Returns:
        One entry per level of the arm that has a pair, from dense to sparse.
    """
    keys = ["study", "replicate"] if within_study else ["replicate"]
    own, base = final[final["arm"] == arm], others[others["arm"] == baseline]
    known = base.groupby("level")["density"].mean()
    found = []
    for level, group in own.groupby("level"):
        density = float(group["density"].mean())
        nearest = nearest_density(known.to_numpy(np.float64), density)
        if nearest is None:
            continue
        partner = base[base["level"] == known.index[nearest]]
        pairs = group.merge(partner[[*keys, "value"]], on=keys, suffixes=("", "_base")).sort_values(keys)
        if not pairs.empty:
            who = tuple(pairs[keys].itertuples(index=False, name=None))
            values, paired = (pairs[name].to_numpy(np.float64) for name in ("value", "value_base"))
            found.append(PairedLevel(int(str(level)), float(pairs["density"].mean()), who, values, paired))
    return found


def nearest_density(densities: Floats, wanted: float) -> int | None:
    """Return the place of the density that is nearest to ``wanted``, or None when it is not within 2 %."""
    apart = np.abs(densities - wanted)
    within = np.isfinite(wanted) and (apart <= (NEAR + EQUAL) * wanted).any()
    return int(np.argmin(apart)) if within else None


def choose_level(final: pd.DataFrame, *, level: int | None = None, at: float | None = None) -> pd.DataFrame:
    """Return the rows of one level of every arm, or of the levels nearest to one density; all rows by default.

    Args:
        final: One row per arm, replicate and level.
        level: From 0, which is dense.
        at: A density, instead of a level; the nearest of each arm counts, if it is within 2 %.

    Raises:
        UserError: When there are no such rows, or both are given.
    """
    if level is not None and at is not None:
        raise UserError(
            f"Got both level={level} and the density {at:g}.", expected="one of them", way_out="leave one out"
        )
    if level is not None:
        chosen = final[final["level"] == level]
        known: Sequence[str] = [str(number) for number in sorted(final["level"].unique())]
        _refuse_empty(chosen, f"level {level}", known)
        return chosen
    if at is None:
        return final
    parts = []
    for arm in arm_order(final):
        own = final[final["arm"] == arm]
        densities = own.groupby("level")["density"].mean()
        place = nearest_density(densities.to_numpy(np.float64), at)
        if place is not None:
            parts.append(own[own["level"] == densities.index[place]])
    chosen = pd.concat(parts) if parts else final.head(0)
    known = list(dict.fromkeys(f"{one:.3g}" for one in sorted(final["density"].dropna(), reverse=True)))
    _refuse_empty(chosen, f"a density within {NEAR:.0%} of {at:g}", known)
    return chosen


def _refuse_empty(chosen: pd.DataFrame, wanted: str, known: Sequence[str]) -> None:
    if chosen.empty:
        raise UserError(
            f"There are no rows of {wanted}.", expected=f"one of: {', '.join(known)}", way_out="choose one of these"
        )


def pairing_note(study: StudySpec, other: StudySpec) -> str:
    """Say what the paired replicates of two studies do not have in common.

    Args:
        study: The study of the arm.
        other: The study of the baseline.

    Returns:
        One or two sentences; empty when they have seed, data, network and recipe in common.
    """
    lines = []
    if study.seed != other.seed:
        lines.append(
            f"{study.study} has the seed {study.seed} and {other.study} the seed {other.seed}, so that replicates of "
            "one number share neither initialisation nor data order. The comparison is valid, but pairing them "
            "removes no noise."
        )
    parts = [key for key in ("dataset", "model", "training", "pruning") if getattr(study, key) != getattr(other, key)]
    if parts:
        lines.append(
            f"{study.study} and {other.study} also differ in {', '.join(parts)}, so that a difference may come from "
            "there instead of from the arms."
        )
    return " ".join(lines)
