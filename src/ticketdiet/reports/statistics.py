"""What the replicates in tidy rows say: means, spreads and intervals of arms, and the differences between them.

Spreads are sample standard deviations (ddof = 1, the unbiased variance): with two to four replicates the population
formula (ddof = 0) that published bands use is 13 to 29 % too narrow. Intervals of means are Student's t, cut to the
values that the metric can have. Differences are judged as ``reports/paired.py`` says. Where a number needs more, or
more varied, replicates than there are it is NaN, never 0, and a reason is given with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from ticketdiet.core.errors import UserError
from ticketdiet.reports.bounds import EQUAL, UNBOUNDED, Bounds, bounds_of, check_confidence, check_sample
from ticketdiet.reports.paired import paired_differences
from ticketdiet.reports.pairing import choose_level, pair_levels
from ticketdiet.reports.rows import arm_order, final_rows


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates.

    Attributes:
        mean: The mean.
        std: Sample standard deviation (ddof = 1), NaN for one value.
        n: Number of values.
        low: Lower end of the t-interval of the mean; NaN where ``reason`` says why.
        high: Upper end, likewise.
        reason: Why there is no interval; empty when there is one.
    """

    mean: float
    std: float
    n: int
    low: float
    high: float
    reason: str = ""


def estimate(values: npt.ArrayLike, confidence: float = 0.95, *, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Estimate a mean from independent values.

    The interval is Student's t, cut to ``bounds``: the mean that it is about cannot lie outside them, so cutting
    loses no coverage. Equal values give no interval: accuracies are counts of test images, so that two or three
    replicates agree by chance, and their agreement does not say that the mean is known exactly.

    Args:
        values: (n,), n at least 1.
        confidence: Coverage that the interval aims at, in (0, 1).
        bounds: Least and greatest value that there can be, (0, 1) for fractions.

    Returns:
        The mean, with standard deviation and interval where the values allow them.

    Raises:
        UserError: When there is no value, one is outside ``bounds``, or for a confidence outside (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    check_confidence(confidence)
    check_sample(sample, bounds)
    n = int(sample.size)
    if not np.isfinite(sample).all():
        return Estimate(np.nan, np.nan, n, np.nan, np.nan, "a value is not finite")
    mean = float(sample.mean())
    if n == 1:
        return Estimate(mean, np.nan, n, np.nan, np.nan, "one value has no interval")
    if np.ptp(sample) <= EQUAL * float(np.abs(sample).max()):
        return Estimate(mean, 0.0, n, np.nan, np.nan, f"no interval: the {n} values are equal")
    std = float(sample.std(ddof=1))
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * std / float(np.sqrt(n))
    return Estimate(mean, std, n, max(mean - reach, bounds[0]), min(mean + reach, bounds[1]))


def summarise(
    rows: pd.DataFrame, *, metric: str = "accuracy", split: str = "test", confidence: float = 0.95
) -> pd.DataFrame:
    """Summarise replicates by arm and level.

    Args:
        rows: Tidy rows.
        metric: Which metric.
        split: Which split.
        confidence: Of the t-interval.

    Returns:
        Columns ``arm level density mean std n low high reason``, the last five as in :class:`Estimate`; ``density`` is
        the mean over replicates, because the threshold rule removes slightly different numbers of weights.

    Raises:
        UserError: When nothing of it has been measured, or for a confidence outside (0, 1).
    """
    final = final_rows(rows, metric=metric, split=split)
    order = {arm: place for place, arm in enumerate(arm_order(final))}
    records = []
    for _, group in final.groupby(["arm", "level"]):
        first, density = group.iloc[0], float(group["density"].mean())
        found = estimate(group["value"], confidence, bounds=bounds_of(metric))
        records.append({"arm": first["arm"], "level": int(first["level"]), "density": density, **vars(found)})
    records.sort(key=lambda record: (order[record["arm"]], record["level"]))
    return pd.DataFrame.from_records(records)


COMPARED = (
    *("arm", "baseline", "level", "density", "mean", "baseline_mean", "difference", "std", "n", "low", "high"),
    *("p_value", "corrected_p", "smallest_p", "outcome", "reason"),
)


def compare(
    rows: pd.DataFrame,
    *,
    baseline: str,
    arm: str | None = None,
    metric: str = "accuracy",
    split: str = "test",
    level: int | None = None,
    at: float | None = None,
    confidence: float = 0.95,
    others: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare arms with a baseline, replicate by replicate: the same replicate shares its initialisation and order.

    Args:
        rows: Tidy rows.
        baseline: Arm to subtract.
        arm: Arm to subtract it from; by default every other one.
        metric: Which metric.
        split: Which split.
        level: Only this level of the arm; by default all.
        at: Only this density, instead of a level; the nearest that there is counts, if it is within 2 %.
        confidence: Coverage that the intervals aim at; 1 - confidence is the largest p that declares a difference.
        others: Tidy rows of the baseline, where it belongs to another study; replicates then pair by their number.

    Returns:
        One row per arm and level, columns ``arm baseline level density mean baseline_mean difference std n low high
        p_value corrected_p smallest_p outcome reason``. Each level goes with that of the baseline whose density is
        within 2 %. Only replicates that both have enter, in both means too. ``difference`` and the columns after it
        are of the paired differences, as in :class:`~ticketdiet.reports.paired.PairedDifference`; ``corrected_p`` is
        ``p_value`` corrected by Holm's method for all rows, and decides the ``outcome``: ``"above"``, ``"below"`` or
        ``"undecided"``, for which ``reason`` says why.

    Raises:
        UserError: When an arm is not in the rows, both are the same, no replicate has both, there is no such level or
            density, both are given, or as :func:`summarise`.
    """
    final = final_rows(rows, metric=metric, split=split)
    base = final if others is None else final_rows(others, metric=metric, split=split)
    names = _arms_to_compare(final, base, arm, baseline, itself=others is None)
    chosen = choose_level(final[final["arm"].isin(names)], level=level, at=at)
    pairs = [
        (name, pair)
        for name in names
        for pair in pair_levels(chosen, name, baseline, others=base, within_study=others is None)
    ]
    if arm is not None and not pairs:
        raise UserError(
            f"No replicate has {metric} on {split} of both {arm} and {baseline} at a level.",
            expected="at least one level of one replicate that both arms have finished",
            way_out="run the study further",
        )
    samples = [(pair.values, pair.others) for _, pair in pairs]
    found = paired_differences(samples, confidence=confidence, bounds=bounds_of(metric))
    records = [
        {"arm": name, "baseline": baseline, "level": pair.level, "density": pair.density, "difference": one.mean}
        | vars(one)
        | {"mean": pair.values.mean(), "baseline_mean": pair.others.mean()}
        for (name, pair), one in zip(pairs, found, strict=True)
    ]
    return pd.DataFrame.from_records(records, columns=list(COMPARED))


def _arms_to_compare(
    final: pd.DataFrame, base: pd.DataFrame, arm: str | None, baseline: str, *, itself: bool
) -> list[str]:
    """Return the arms that are compared with the baseline; ``itself``: this is an arm of the same study."""
    arms = arm_order(final)
    for name, known in ((baseline, arm_order(base)), (arm, arms)):
        if name is not None and name not in known:
            raise UserError(
                f"There is no arm {name!r}.", expected=f"one of: {', '.join(known)}", way_out="choose one of these"
            )
    if itself and arm == baseline:
        raise UserError(
            f"Got the arm {arm!r} to compare with itself.",
            expected="two arms",
            way_out=f"choose two of: {', '.join(arms)}",
        )
    return [arm] if arm is not None else [name for name in arms if not (itself and name == baseline)]
