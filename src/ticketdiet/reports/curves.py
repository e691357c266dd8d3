"""What the whole curve of a metric against density says: how sparse an arm matches, and how far two arms are apart.

Both look at the densities that were measured and at nothing between them, except that the area joins neighbouring
densities by straight lines over the logarithm of density. Only replicates that have every density enter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.reports.bootstrap import FEWEST_REPLICATES, quantile_above, quantile_below, resamples_of
from ticketdiet.reports.bounds import EQUAL, bounds_of, check_confidence
from ticketdiet.reports.paired import PairedDifference, paired_difference
from ticketdiet.reports.pairing import pair_levels
from ticketdiet.reports.rows import arm_order, final_rows

Floats = NDArray[np.float64]
MARGIN = 0.005  # that of a search in Python, TicketSearch.matching
BETTER = {"accuracy": 1, "loss": -1, "error": -1}  # 1 where more is better
KEYS = ["study", "replicate"]


@dataclass(frozen=True)
class MatchingDensity:
    """The sparsest density at which the mean of an arm is within a margin of a dense mean.

    Attributes:
        arm: Name of the arm.
        density: In (0, 1]; infinite when not even its dense networks match.
        level: Its level, or None.
        low: Lower end of the percentile bootstrap interval over replicates, one of the measured densities; NaN for
            fewer than 3 replicates.
        high: Upper end, likewise; infinite when too many resamples match at no density.
        n: Number of replicates, those that have every level.
        margin: How much worse than the dense mean still matches, in units of the metric.
        dense: The dense mean that was matched.
        reference: The arm whose dense networks these are.
        is_sparsest: Whether it is the sparsest density that was measured, so that a sparser one may match too.
        gaps: Denser levels that do not match although a sparser one does; usually none.
        reason: Why no density matches, or why there is no interval; empty when there are both.
    """

    arm: str
    density: float
    level: int | None
    low: float
    high: float
    n: int
    margin: float
    dense: float
    reference: str
    is_sparsest: bool
    gaps: tuple[int, ...]
    reason: str = ""


@dataclass(frozen=True)
class AreaBetween:
    """The area between the curves of two arms over the logarithm of density, divided by its range.

    Attributes:
        difference: The mean difference of the curves, paired by replicate, in units of the metric.
        densities: The densities that both arms have, from dense to sparse.
    """

    difference: PairedDifference
    densities: tuple[float, ...]


def matching_density(
    rows: pd.DataFrame,
    *,
    arm: str,
    margin: float = MARGIN,
    metric: str = "accuracy",
    split: str = "test",
    reference: str | None = None,
    confidence: float = 0.95,
) -> MatchingDensity:
    """Find how sparse the networks of an arm can be and still match dense ones.

    A density matches when the mean over replicates at it is within ``margin`` of the dense mean. The sparsest such
    density counts, also where a denser one fails; ``gaps`` then names the levels that do. It is a statement about
    means, and not a test that they are equal. The interval draws replicates with replacement, and looks for the
    matching density of each draw.

    Args:
        rows: Tidy rows.
        arm: Name of the arm.
        margin: How much worse than dense still matches, in units of the metric, at least 0.
        metric: ``"accuracy"``, ``"loss"`` or ``"error"``, or one of these with ``_recalibrated``.
        split: Which split.
        reference: The arm whose dense networks are matched; by default ``arm``.
        confidence: Coverage that the interval aims at, in (0, 1).

    Returns:
        The density, with its interval over replicates.

    Raises:
        UserError: When nothing of it has been measured, an arm is not in the rows, no replicate has every level, or for
            a negative margin, another metric, or a confidence outside (0, 1).
    """
    check_confidence(confidence)
    check_known("metric with a matching density", metric.removesuffix("_recalibrated"), BETTER)
    if not margin >= 0:
        raise UserError(f"Got margin={margin}.", expected="a number of at least 0", way_out=f"for example {MARGIN}")
    against = arm if reference is None else reference
    curves = _below_dense(rows, arm, against, metric, split)
    fits = curves.losses.mean(axis=0) <= margin + EQUAL
    place = int(_sparsest(fits[None])[0])
    reasons = [] if place >= 0 else [f"no density is within {margin:g} of the dense networks of {against}"]
    if (n := len(curves.losses)) < FEWEST_REPLICATES:
        reasons.append(f"n = {n}: an interval needs at least {FEWEST_REPLICATES} replicates")
    low, high = map(float, _interval(curves, margin, confidence))
    return MatchingDensity(
        arm=arm,
        density=float(curves.densities[place]) if place >= 0 else math.inf,
        level=curves.levels[place] if place >= 0 else None,
        low=low,
        high=high,
        n=n,
        margin=margin,
        dense=curves.dense,
        reference=against,
        is_sparsest=place == len(fits) - 1,
        gaps=tuple(curves.levels[denser] for denser in range(place) if not fits[denser]),
        reason="; ".join(reasons),
    )


@dataclass(frozen=True, eq=False)
class _BelowDense:
    """How much worse than dense an arm is, over (replicates, levels), and the mean of the dense networks."""

    losses: Floats
    levels: tuple[int, ...]
    densities: Floats
    dense: float


def _below_dense(rows: pd.DataFrame, arm: str, reference: str, metric: str, split: str) -> _BelowDense:
    final = final_rows(rows, metric=metric, split=split)
    for name in (arm, reference):
        check_known("arm", name, arm_order(final))
    own = final[final["arm"] == arm]
    table = own.pivot_table(index=KEYS, columns="level", values="value")
    dense = final[(final["arm"] == reference) & (final["level"] == 0)].set_index(KEYS)["value"].rename("dense")
    complete = table.join(dense, how="inner").dropna()
    if complete.empty:
        raise UserError(
            f"No replicate has {metric} on {split} at every level of {arm}, and of the dense networks of {reference}.",
            expected="at least one replicate with every level",
            way_out="run the study further",
        )
    values, ends = (complete[names].to_numpy(np.float64) for names in (list(table.columns), ["dense"]))
    with np.errstate(invalid="ignore"):  # infinite losses
        losses = BETTER[metric.removesuffix("_recalibrated")] * (ends - values)
    densities = own.groupby("level")["density"].mean().loc[table.columns].to_numpy(np.float64)
    return _BelowDense(losses, tuple(int(str(level)) for level in table.columns), densities, float(ends.mean()))


def _sparsest(fits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the last place along the levels, (draws, levels), that fits; -1 where none does."""
    return np.where(fits.any(axis=1), fits.shape[1] - 1 - np.argmax(fits[:, ::-1], axis=1), -1)


def _interval(curves: _BelowDense, margin: float, confidence: float) -> Floats:
    """Return both ends of the percentile interval of the matching density."""
    if len(curves.losses) < FEWEST_REPLICATES:
        return np.full(2, np.nan)
    resamples = resamples_of(len(curves.losses))
    with np.errstate(invalid="ignore"):  # infinite losses
        places = _sparsest(resamples.weights @ curves.losses <= margin + EQUAL)
    found = np.where(places >= 0, curves.densities[places], np.inf)
    outside = (1 - confidence) / 2
    return np.array([find(found, resamples.probabilities, outside) for find in (quantile_below, quantile_above)])


def area_between(
    rows: pd.DataFrame,
    *,
    arm: str,
    baseline: str,
    metric: str = "accuracy",
    split: str = "test",
    confidence: float = 0.95,
    others: pd.DataFrame | None = None,
) -> AreaBetween:
    """Measure how far the curves of two arms are apart, over all densities that both have.

    It is the mean over the logarithm of density of the difference at a density, by the trapezoid rule: one number per
    replicate, so that it is a single comparison and needs no correction. Levels that are pruned by one fraction have
    equal weights, except that the two ends have half of it.

    Args:
        rows: Tidy rows.
        arm: Name of the arm.
        baseline: Name of the arm to subtract.
        metric: Which metric.
        split: Which split.
        confidence: As in :func:`~ticketdiet.reports.paired.paired_difference`.
        others: Tidy rows of the baseline, where it belongs to another study.

    Returns:
        The paired difference of the areas, over the replicates that have every density of the two.

    Raises:
        UserError: When nothing of it has been measured, an arm is not in the rows, there are fewer than two densities
            that both arms have, no replicate has all of them, or for a confidence outside (0, 1).
    """
    final = final_rows(rows, metric=metric, split=split)
    base = final if others is None else final_rows(others, metric=metric, split=split)
    check_known("arm", arm, arm_order(final))
    check_known("arm", baseline, arm_order(base))
    pairs = pair_levels(final, arm, baseline, others=base, within_study=others is None)
    whole = [who for first in pairs[:1] for who in first.replicates if all(who in one.replicates for one in pairs)]
    if len(pairs) < 2 or not whole:
        raise UserError(
            f"No replicate of {arm} and {baseline} has {metric} on {split} at two or more densities.",
            expected="at least two densities that both arms have, and a replicate with all of them",
            way_out="run the study further, or give it more levels",
        )
    weights = _trapezoid([one.density for one in pairs])
    curves = []
    for name in ("values", "others"):
        picked = [getattr(one, name)[[one.replicates.index(who) for who in whole]] for one in pairs]
        curves.append(np.column_stack(picked) @ weights)
    difference = paired_difference(curves[0], curves[1], confidence=confidence, bounds=bounds_of(metric))
    return AreaBetween(difference, tuple(one.density for one in pairs))


def _trapezoid(densities: list[float]) -> Floats:
    """Return the weight of each density in the mean over the logarithm of density."""
    steps = -np.diff(np.log(densities)) / 2
    weights = np.append(steps, 0) + np.append(0, steps)
    return np.asarray(weights / weights.sum())
