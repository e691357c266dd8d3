"""From tidy rows to one number per replicate: what a question of a claim is about.

A contrast looks only at the arms and levels that it was made with. Replicates in which one of them is missing are left
out, so that what remains is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ticketdiet.core.errors import UserError
from ticketdiet.reports.rows import FAMILY, final_rows

Contrast = Callable[[pd.DataFrame], pd.Series]  # tidy rows -> one float per replicate, indexed by replicate
EXAMPLE_CORRELATION = "barrier_score_correlation"
FEWEST_ARMS = 4  # for a rank correlation across arms


def accuracy_difference(arm: str, level: int, baseline: str, baseline_level: int) -> Contrast:
    """Return test accuracy of ``arm`` at ``level`` minus that of ``baseline`` at ``baseline_level``."""

    def contrast(rows: pd.DataFrame) -> pd.Series:
        return (accuracy(rows, arm, level) - accuracy(rows, baseline, baseline_level)).dropna()

    return contrast


def difference_of_differences(arms: tuple[str, str], baselines: tuple[str, str], level: int) -> Contrast:
    """Return how much larger the accuracy of ``arms[0]`` over ``arms[1]`` is than that of ``baselines[0]`` over [1]."""

    def contrast(rows: pd.DataFrame) -> pd.Series:
        first, second, third, fourth = (accuracy(rows, arm, level) for arm in (*arms, *baselines))
        return ((first - second) - (third - fourth)).dropna()

    return contrast


def rank_correlation(arms: Sequence[str], predictor: str, level: int) -> Contrast:
    """Return Spearman's correlation, across arms, of a predictor with test accuracy at ``level``.

    Args:
        arms: The arms, at least four; a replicate without one of them is left out.
        predictor: A key of :data:`PREDICTORS`.
        level: Level of the accuracy.
    """

    def contrast(rows: pd.DataFrame) -> pd.Series:
        return _spearman(_table(rows, arms, predictor), _accuracies(rows, arms, level))

    return contrast


def stronger_correlation(arms: Sequence[str], predictor: str, other: str, level: int) -> Contrast:
    """Return by how much the absolute rank correlation of ``predictor`` is above that of ``other``."""

    def contrast(rows: pd.DataFrame) -> pd.Series:
        accuracies = _accuracies(rows, arms, level)
        first, second = (_spearman(_table(rows, arms, name), accuracies).abs() for name in (predictor, other))
        return (first - second).dropna()

    return contrast


def example_correlation(arm: str) -> Contrast:
    """Return the rank correlation, over training examples, of an arm's barriers with the examples' EL2N scores."""

    def contrast(rows: pd.DataFrame) -> pd.Series:
        return _measured(rows, arm, EXAMPLE_CORRELATION, "train").dropna()

    return contrast


def accuracy(rows: pd.DataFrame, arm: str, level: int) -> pd.Series:
    """Return the final test accuracy of an arm at a level, by replicate; empty where nothing is measured yet."""
    try:
        final = final_rows(rows)
    except UserError:
        return _by_replicate(rows.iloc[:0])
    return _by_replicate(final[(final["arm"] == arm) & (final["level"] == level)])


PREDICTORS: dict[str, tuple[str, str]] = {  # name in words -> metric and split
    "mean barrier": ("barrier_mean", "train"),
    "connected fraction": ("connected_fraction", "train"),
    "accuracy after pre-training": ("accuracy_recalibrated", "test"),
}


def _measured(rows: pd.DataFrame, arm: str, metric: str, split: str) -> pd.Series:
    """What was measured of the dense family of an arm, or at its rewinding point, by replicate."""
    found = rows[(rows["arm"] == arm) & (rows["metric"] == metric) & (rows["split"] == split)]
    if "pair" in found and (found["pair"] == FAMILY).any():
        found = found[(found["pair"] == FAMILY) & (found["level"] == 0)]
    last = found.sort_values("step", kind="stable", na_position="first").drop_duplicates("replicate", keep="last")
    return _by_replicate(last)


def _by_replicate(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(rows["value"].to_numpy(np.float64), index=rows["replicate"].astype("int64"), dtype=np.float64)


def _table(rows: pd.DataFrame, arms: Sequence[str], predictor: str) -> pd.DataFrame:
    metric, split = PREDICTORS[predictor]
    return pd.DataFrame({arm: _measured(rows, arm, metric, split) for arm in arms}).dropna()


def _accuracies(rows: pd.DataFrame, arms: Sequence[str], level: int) -> pd.DataFrame:
    return pd.DataFrame({arm: accuracy(rows, arm, level) for arm in arms}).dropna()


def _spearman(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series:
    """Correlate the ranks of the arms in each replicate that both tables have; constant rows have no correlation."""
    both = first.index.intersection(second.index)
    if len(first.columns) < FEWEST_ARMS:
        return pd.Series(dtype=np.float64)
    values = {
        replicate: _correlation(rankdata(first.loc[replicate]), rankdata(second.loc[replicate])) for replicate in both
    }
    return pd.Series(values, dtype=np.float64).dropna()


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 0 else float("nan")
