"""Does the barrier of a rewinding point predict the accuracy of its sparse networks? (arXiv 2206.01278, figure 5).

Points that belong together (the replicates of an arm) are not independent, so intervals come from leaving out whole
arms, one at a time: the jackknife over groups (Shao and Tu 1995, *The Jackknife and Bootstrap*), on Fisher's z, with
Student's t of arms - 1 degrees of freedom. A bootstrap over single points covers far less than it claims there, and one
over a handful of arms still covers too little; docs/methods.md has the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t

from ticketdiet.core.errors import DataError, UserError

Floats = NDArray[np.float64]
Kind = Literal["pearson", "spearman"]
KINDS: tuple[Kind, ...] = ("pearson", "spearman")
FEWEST_POINTS = 3
FEWEST_ARMS = 5  # with fewer the spread between arms is hardly known
ALMOST_ONE = 1 - 1e-12


@dataclass(frozen=True)
class Correlation:
    """A correlation coefficient with its interval over arms.

    Attributes:
        kind: ``"pearson"`` (of values) or ``"spearman"`` (of ranks, ties sharing their mean rank).
        value: In [-1, 1]; NaN when x or y is constant.
        low: Lower end of the interval, at least -1; NaN where ``reason`` says why.
        high: Upper end, at most 1; likewise.
        reason: Why there is no interval; empty when there is one.
    """

    kind: Kind
    value: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True)
class Prediction:
    """How well x predicts y over the rewinding points of a study.

    Attributes:
        pearson: Linear correlation.
        spearman: Correlation of ranks.
        points: Number of rewinding points.
        arms: Number of arms that they belong to.
        confidence: Coverage that the intervals aim at.
    """

    pearson: Correlation
    spearman: Correlation
    points: int
    arms: int
    confidence: float


@dataclass(frozen=True)
class Advantage:
    """By how much the correlation of one predictor is stronger than that of another, on the same points.

    Attributes:
        kind: As in :class:`Correlation`.
        value: Difference of the absolute correlations, in [-1, 1]: above 0 the first predictor is the stronger one.
        low: Lower end of the interval of the difference; NaN where ``reason`` says why.
        high: Upper end, likewise.
        reason: Why there is no interval; empty when there is one.
    """

    kind: Kind
    value: float
    low: float
    high: float
    reason: str = ""


def predict(
    x: ArrayLike, y: ArrayLike, *, arms: Sequence[object] | None = None, confidence: float = 0.95
) -> Prediction:
    """Correlate x with y over rewinding points, with intervals over arms.

    Args:
        x: (points,): for example the mean barrier of each rewinding point.
        y: (points,): for example accuracy at a density.
        arms: (points,): the arm of each point; points of one arm are left out together. By default every point is an
            arm of its own, that is, all are independent.
        confidence: Coverage of the intervals, in (0, 1).

    Returns:
        Both correlations. There is no interval for fewer than 5 arms, for points that lie exactly on a line (or in one
        order), or when leaving out an arm makes x or y constant; the reason is in the result.

    Raises:
        DataError: When lengths differ, there are fewer than 3 points, or a value is not finite.
        UserError: For a confidence outside (0, 1).
    """
    xs, ys = _points(x, y)
    groups = _groups(arms, len(xs), confidence)

    def correlate(kind: Kind) -> Correlation:
        value, without = _leaving_out(groups, lambda kept: _correlation(kind, xs[kept], ys[kept]))
        reason = _unsure(value, without)
        if reason:
            return Correlation(kind, value, np.nan, np.nan, reason)
        low, high = np.tanh(_jackknife(_fisher(np.array(value)), _fisher(without), confidence))
        return Correlation(kind, value, float(low), float(high))

    return Prediction(correlate("pearson"), correlate("spearman"), len(xs), len(groups), confidence)


def compare_predictors(
    first: ArrayLike,
    second: ArrayLike,
    y: ArrayLike,
    *,
    kind: Kind = "pearson",
    arms: Sequence[object] | None = None,
    confidence: float = 0.95,
) -> Advantage:
    """Ask whether one predictor correlates more strongly with y than another does, paired by rewinding point.

    Each arm is left out of both correlations at once, so what the two have in common cancels.

    Args:
        first: (points,): a predictor.
        second: (points,): another one, of the same points.
        y: (points,): what both predict.
        kind: Which correlation.
        arms: As in :func:`predict`.
        confidence: As in :func:`predict`.

    Returns:
        The difference of the absolute correlations; without an interval in the same cases as :func:`predict`.

    Raises:
        DataError: As :func:`predict`, for either predictor.
        UserError: For a confidence outside (0, 1).
    """
    one, ys = _points(first, y)
    other, _ = _points(second, y)
    groups = _groups(arms, len(ys), confidence)

    def advantage(kept: NDArray[np.bool_]) -> float:
        strengths = [abs(_correlation(kind, values[kept], ys[kept])) for values in (one, other)]
        return strengths[0] - strengths[1]

    value, without = _leaving_out(groups, advantage)
    reason = _unsure(value, without, spread_needed=True)
    if reason:
        return Advantage(kind, value, np.nan, np.nan, reason)
    low, high = np.clip(_jackknife(np.array(value), without, confidence), -1, 1)
    return Advantage(kind, value, float(low), float(high))


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape or len(xs) < FEWEST_POINTS:
        raise DataError(
            f"Got x of shape {xs.shape} and y of shape {ys.shape}.",
            expected=f"one number of each per rewinding point, for at least {FEWEST_POINTS} points",
            way_out="add arms or replicates to the study",
        )
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise DataError(
            "x or y contains NaN or infinite values.", expected="finite numbers", way_out="drop those points"
        )
    return xs, ys


def _groups(arms: Sequence[object] | None, points: int, confidence: float) -> list[NDArray[np.bool_]]:
    """Return which points each arm has, bool (points,) each."""
    if not 0 < confidence < 1:
        raise UserError(f"Got confidence={confidence}.", expected="a number in (0, 1)", way_out="for example 0.95")
    names = list(range(points)) if arms is None else list(arms)
    if len(names) != points:
        raise DataError(
            f"Got {len(names)} arms for {points} points.",
            expected="one arm per point",
            way_out="give arms, or leave them out",
        )
    return [np.array([name == arm for name in names]) for arm in dict.fromkeys(names)]


def _leaving_out(
    groups: list[NDArray[np.bool_]], statistic: Callable[[NDArray[np.bool_]], float]
) -> tuple[float, Floats]:
    """Return the statistic of all points, and (arms,) that of the points without each arm."""
    value = statistic(np.ones_like(groups[0]))
    if len(groups) < FEWEST_ARMS:
        return value, np.full(len(groups), np.nan)
    return value, np.array([statistic(~group) for group in groups])


def _unsure(value: float, without: Floats, *, spread_needed: bool = False) -> str:
    """Say why there is no interval, if so."""
    if not np.isfinite(value):
        return "x or y is constant"
    if len(without) < FEWEST_ARMS:
        return f"{len(without)} arms: an interval needs at least {FEWEST_ARMS}"
    if not np.isfinite(without).all():
        return "without one of the arms, x or y is constant"
    if spread_needed and np.ptp(without) <= 1 - ALMOST_ONE:
        return "leaving out an arm changes nothing"
    if not spread_needed and abs(value) >= ALMOST_ONE:
        return "the points lie exactly on one line or in one order"
    return ""


def _jackknife(value: NDArray[np.float64], without: Floats, confidence: float) -> Floats:
    """Return both ends of the interval around ``value`` from the values without each arm."""
    arms = len(without)
    error = np.sqrt((arms - 1) / arms * ((without - without.mean()) ** 2).sum())
    reach = float(t.ppf((1 + confidence) / 2, arms - 1)) * error
    return np.array([value - reach, value + reach])


def _fisher(correlations: Floats) -> Floats:
    return np.arctanh(np.clip(correlations, -ALMOST_ONE, ALMOST_ONE))


def _correlation(kind: Kind, x: Floats, y: Floats) -> float:
    """Correlate; NaN for fewer than 3 points, and where x or y is constant."""
    if len(x) < FEWEST_POINTS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    if kind == "spearman":
        x, y = rankdata(x), rankdata(y)
    return float(np.clip(_standardise(x) @ _standardise(y), -1.0, 1.0))


def _standardise(values: Floats) -> Floats:
    centred = values - values.mean()
    centred = centred / np.abs(centred).max()  # squares of tiny or huge values would leave the range of floats
    unit: Floats = centred / np.sqrt((centred**2).sum())
    return unit
