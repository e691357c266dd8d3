"""Does the barrier of a rewinding point predict the accuracy of its sparse networks? (arXiv 2206.01278, figure 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import numpy_generator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A correlation coefficient with its bootstrap interval.

    Attributes:
        value: In [-1, 1]; NaN when x or y is constant, for then there is none.
        low: Lower end of the percentile interval; NaN when ``value`` is.
        high: Upper end, likewise.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """How well x predicts y over the rewinding points of a study.

    Attributes:
        pearson: Linear correlation.
        spearman: Correlation of ranks, ties sharing their mean rank.
        points: Number of rewinding points.
        resamples: Bootstrap resamples drawn.
        confidence: Coverage that the intervals aim at.
        seed: Seed of the resampling.
    """

    pearson: Correlation
    spearman: Correlation
    points: int
    resamples: int
    confidence: float
    seed: int


def predict(
    x: ArrayLike, y: ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Prediction:
    """Correlate x with y over points, with seeded percentile bootstrap intervals over the points.

    Resamples in which x or y is constant have no correlation and are left out of the interval.

    Args:
        x: (points,): for example the mean barrier of each rewinding point.
        y: (points,): for example accuracy at a density.
        resamples: Bootstrap resamples.
        confidence: Coverage of the intervals, in (0, 1).
        seed: Seed of the resampling; equal calls give equal numbers.

    Returns:
        Both correlations; NaN throughout when x or y is constant.

    Raises:
        DataError: When lengths differ, there are fewer than 3 points, or a value is not finite.
        UserError: For a confidence outside (0, 1) or no resamples.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise UserError(
            f"confidence {confidence} with {resamples} resamples.", expected="a confidence in (0, 1), resamples >= 1"
        )
    xs, ys = _points(x, y)
    draws = numpy_generator(seed, "bootstrap").integers(0, len(xs), size=(resamples, len(xs)))

    def correlate(transform: Callable[[Floats], Floats]) -> Correlation:
        value = float(_pearson(transform(xs[None]), transform(ys[None]))[0])
        resampled = _pearson(transform(xs[draws]), transform(ys[draws]))
        resampled = resampled[np.isfinite(resampled)]
        if not np.isfinite(value) or not len(resampled):
            return Correlation(value, float("nan"), float("nan"))
        low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Correlation(value, float(low), float(high))

    return Prediction(correlate(lambda rows: rows), correlate(_ranks), len(xs), resamples, confidence, seed)


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape or len(xs) < 3:
        raise DataError(
            f"x of shape {xs.shape} and y of shape {ys.shape}.",
            expected="one of each for at least 3 rewinding points",
            way_out="add arms or replicates to the study",
        )
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise DataError("x or y holds NaN or infinite values.", expected="finite numbers", way_out="drop those points")
    return xs, ys


def _ranks(rows: Floats) -> Floats:
    ranks: Floats = rankdata(rows, axis=1)
    return ranks


def _pearson(xs: Floats, ys: Floats) -> Floats:
    """Correlate row by row; NaN where a row is constant."""
    constant = (np.ptp(xs, axis=1) == 0) | (np.ptp(ys, axis=1) == 0)
    # Scaling first keeps squares of tiny or huge values from leaving the range of floats.
    x, y = (_standardise(rows) for rows in (xs, ys))
    value: Floats = np.clip((x * y).sum(axis=1), -1.0, 1.0)
    value[constant] = np.nan
    return value


def _standardise(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=1, keepdims=True)
    scale = np.abs(centred).max(axis=1, keepdims=True)
    centred = centred / np.where(scale > 0, scale, 1)
    norm = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit: Floats = centred / np.where(norm > 0, norm, 1)
    return unit
