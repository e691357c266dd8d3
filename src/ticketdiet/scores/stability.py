"""How many networks a score needs: the agreement between means over m networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Scores
from ticketdiet.data.subsets import choose_subset


@dataclass(frozen=True)
class StabilityRow:
    """Agreement of the mean score over ``models`` networks, averaged over draws of which ones.

    Attributes:
        models: Networks in the mean (m).
        spearman: Rank correlation with the mean over all networks; 1 at m = all by construction.
        overlap: Fraction of the easiest ``size`` examples that are also among the easiest by the mean over all.
        held_out_spearman: Rank correlation between means over two disjoint groups of m; None when 2 m exceeds all.
        size: Size of the compared subsets.
    """

    models: int
    spearman: float
    overlap: float
    held_out_spearman: float | None
    size: int


def rank_stability(
    scores: Scores, *, size: int = 3200, models: Sequence[int] | None = None, draws: int = 5, seed: int = 0
) -> tuple[StabilityRow, ...]:
    """Compare the ranking by m networks with the ranking by all.

    Args:
        scores: A matrix over two networks or more.
        size: Size of the easiest subsets to compare.
        models: Values of m; default 1, 2, ... up to all.
        draws: Seeded choices of the m networks to average over.
        seed: Seed of these choices and of ties.

    Returns:
        One row per value of m.

    Raises:
        DataError: When there are fewer networks than some m, or fewer examples than ``size``.
    """
    total = len(scores.matrix)
    counts = tuple(range(1, total + 1)) if models is None else tuple(models)
    if total < 2 or draws < 1 or not all(1 <= count <= total for count in counts):
        raise DataError(
            f"The stability of {list(counts)} networks out of {total} over {draws} draws cannot be computed.",
            expected="at least two networks, numbers of networks from 1 to all, and at least one draw",
            way_out="score with more models",
        )
    easiest = choose_subset(scores, "easiest", size, seed=seed)
    return tuple(_row(scores, count, easiest, draws, seed) for count in counts)


def _row(scores: Scores, count: int, easiest: np.ndarray, draws: int, seed: int) -> StabilityRow:
    matrix, total = scores.matrix, len(scores.matrix)
    agreement, overlap, held_out = [], [], []
    for draw in range(1 if count == total else draws):
        order = numpy_generator(seed, "stability", draw).permutation(total)
        mean = _mean(matrix, order[:count])
        chosen = choose_subset(mean, "easiest", len(easiest), seed=seed)
        agreement.append(spearman(mean, scores.mean))
        overlap.append(len(np.intersect1d(chosen, easiest, assume_unique=True)) / len(easiest))
        if 2 * count <= total:
            held_out.append(spearman(mean, _mean(matrix, order[count : 2 * count])))
    return StabilityRow(
        models=count,
        spearman=float(np.mean(agreement)),
        overlap=float(np.mean(overlap)),
        held_out_spearman=float(np.mean(held_out)) if held_out else None,
        size=len(easiest),
    )


def _mean(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Rows are sorted, because the last bit of a sum depends on the order, and all rows must give the mean over all.
    mean: np.ndarray = matrix[np.sort(rows)].astype(np.float64).mean(axis=0)
    return mean


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation, ties at mean ranks, +inf at the end; 0 when one of them is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0
