"""Tidy rows: one number per row, with where it came from. Every table and figure of a study starts from these.

Columns are ``study arm replicate level density step metric split value address``; others (``tolerance``, ``pair``,
``kind``, ...) may follow.
"""

from __future__ import annotations

import pandas as pd

from ticketdiet.core.errors import UserError

COLUMNS = ("study", "arm", "replicate", "level", "density", "step", "metric", "split", "value", "address")
SPARSE_TRAININGS = ("level", "sparse_training")
FAMILY = "family"  # the pair of what was measured over all pairs of a family


def select_rows(rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test") -> pd.DataFrame:
    """Return the rows of one metric on one split, whatever their level.

    Raises:
        UserError: When a column is missing, or nothing of that metric and split has been measured yet.
    """
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise UserError(
            f"The rows lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}.",
            expected=f"columns {', '.join(COLUMNS)}",
            way_out="take the rows from `ticketdiet results STUDY`",
        )
    found = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    if found.empty:
        known = sorted({f"{m} on {s}" for m, s in zip(rows["metric"], rows["split"], strict=True)})
        raise UserError(
            f"There are no rows of {metric} on {split}.",
            expected=f"one of: {', '.join(known)}" if known else "rows of finished results",
            way_out="run the study first, or choose what it measured",
        )
    return found


def final_rows(rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test") -> pd.DataFrame:
    """Return one row per arm, replicate and level: the last step that was measured.

    Rows without a level (pre-training) are left out, and where a column ``kind`` tells levels from other networks, only
    levels are taken. Of barriers, those over all pairs of a family are taken.

    Raises:
        UserError: As ``select_rows``, and when no level has been measured yet.
    """
    leveled = select_rows(rows, metric=metric, split=split).dropna(subset=["level", "value"])
    if "kind" in leveled and leveled["kind"].isin(SPARSE_TRAININGS).any():
        leveled = leveled[leveled["kind"].isin(SPARSE_TRAININGS)]
    if "pair" in leveled and (leveled["pair"] == FAMILY).any():
        leveled = leveled[leveled["pair"] == FAMILY]
    in_order = leveled.sort_values("step", kind="stable", na_position="first")
    last = in_order.drop_duplicates(["study", "arm", "replicate", "level"], keep="last")
    if last.empty:
        raise UserError(
            f"No level has {metric} on {split} yet.",
            expected="at least one finished level",
            way_out="run the study first",
        )
    return last.sort_index()


def arm_order(rows: pd.DataFrame) -> list[str]:
    """Return the arms in the order they first appear: the order of the study file."""
    return list(dict.fromkeys(rows["arm"]))
