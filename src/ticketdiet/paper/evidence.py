"""What a claim is judged on: tidy rows, from a store or from files that another machine has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ticketdiet.core.errors import DataError, shown
from ticketdiet.paper.contrasts import EXAMPLE_CORRELATION
from ticketdiet.reports.families import FamilyResult
from ticketdiet.reports.per_example_report import read_scores
from ticketdiet.reports.reading import StudyResults
from ticketdiet.reports.rows import COLUMNS, FAMILY

SCORE = "el2n"
MOST_BYTES = 500_000_000


def evidence_rows(results: StudyResults) -> pd.DataFrame:
    """Return the rows of a study, and the rank correlation of barriers with EL2N over examples of every dense family.

    Args:
        results: What the store holds of the study.

    Returns:
        The tidy rows, and rows of the metric ``barrier_score_correlation`` on ``train`` at level 0.
    """
    added = [_correlation_row(results, family, scores) for family, scores in _scored_families(results)]
    return pd.concat([results.rows, pd.DataFrame(added)], ignore_index=True) if added else results.rows


def _scored_families(results: StudyResults) -> Iterator[tuple[FamilyResult, np.ndarray]]:
    for family in results.families:
        scores = read_scores(results.plan, results.store, family.replicate)
        if SCORE in scores:
            yield family, scores[SCORE]


def _correlation_row(results: StudyResults, family: FamilyResult, scores: np.ndarray) -> dict[str, Any]:
    found = spearmanr(family.per_example("train"), scores).statistic
    return {
        "study": results.name,
        "arm": family.arm,
        "replicate": family.replicate,
        "level": 0,
        "density": 1.0,
        "metric": EXAMPLE_CORRELATION,
        "split": "train",
        "value": float(found),
        "address": family.address,
        "kind": "barrier",
        "pair": FAMILY,
    }


def read_rows_file(path: Path) -> pd.DataFrame:
    """Read rows that ``ticketdiet paper`` or ``ticketdiet results --format csv`` wrote.

    Args:
        path: The file.

    Returns:
        The rows, with every column of the file.

    Raises:
        DataError: When the file cannot be read, is too large, or lacks a column.
    """
    way_out = "give a CSV file that `ticketdiet paper` or `ticketdiet results STUDY --format csv` wrote"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(
                f"{shown(path)} has {path.stat().st_size:,} bytes.", expected=f"at most {MOST_BYTES:,}", way_out=way_out
            )
        rows = pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"The rows in {shown(path)} cannot be read: {error}.", expected="a CSV file of rows", way_out=way_out
        ) from None
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise DataError(
            f"{shown(path)} lacks the columns {', '.join(missing)}.",
            expected=f"the columns {', '.join(COLUMNS)}",
            way_out=way_out,
        )
    return rows


def pooled(parts: Iterable[pd.DataFrame], study: str) -> pd.DataFrame:
    """Put rows of the same claims from several sources together.

    A replicate of an arm is taken from one part as a whole, because the same replicate from another machine is another
    draw: from the part that has most of it, and from the first of those that have equally much.

    Args:
        parts: Tidy rows, in the order of preference.
        study: Name under which they are judged.

    Returns:
        The rows, all with that name in the column ``study``.
    """
    parts = [part for part in parts if not part.empty]
    whose = [list(zip(part["arm"], part["replicate"].fillna(-1).astype(int), strict=True)) for part in parts]
    counts = [Counter(owners) for owners in whose]
    fullest = {
        who: max(range(len(parts)), key=lambda number, who=who: (counts[number][who], -number))  # type: ignore[misc]
        for who in {who for count in counts for who in count}
    }
    taken = [
        part[[fullest[who] == number for who in owners]]
        for number, (part, owners) in enumerate(zip(parts, whose, strict=True))
    ]
    rows = pd.concat(taken, ignore_index=True) if taken else pd.DataFrame(columns=list(COLUMNS))
    return rows.assign(study=study)
