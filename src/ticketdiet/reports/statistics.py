"""What replicates say: means, spreads, intervals and paired differences.

Spreads are sample standard deviations (ddof = 1, the unbiased variance): with two to four replicates the population
formula (ddof = 0) that published bands use is 13 to 29 % too narrow. Intervals of means are Student's t, cut to the
values that the metric can have. p-values are those of an exact sign-flip test, which assumes no distribution. Where a
number needs more, or more varied, replicates than there are it is NaN, never 0, and a reason is given with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from ticketdiet.core.errors import UserError
from ticketdiet.reports.bounds import EQUAL, UNBOUNDED, Bounds, bounds_of, check_confidence, check_sample
from ticketdiet.reports.paired import sign_flip_test
from ticketdiet.reports.rows import arm_order, final_rows

FEWEST_FOR_P = 3  # two replicates cannot get below p = 1/2


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
    return _estimate(sample, confidence, bounds, scale=float(np.abs(sample).max()))


def _estimate(sample: np.ndarray, confidence: float, bounds: Bounds, scale: float) -> Estimate:
    n = int(sample.size)
    if not np.isfinite(sample).all():
        return Estimate(np.nan, np.nan, n, np.nan, np.nan, "a value is not finite")
    mean = float(sample.mean())
    if n == 1:
        return Estimate(mean, np.nan, n, np.nan, np.nan, "one value has no interval")
    if np.ptp(sample) <= EQUAL * scale:
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
    *("p_value", "smallest_p", "reason"),
)


def compare(
    rows: pd.DataFrame,
    *,
    baseline: str,
    arm: str | None = None,
    metric: str = "accuracy",
    split: str = "test",
    level: int | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare arms with a baseline, replicate by replicate: the same replicate shares its initialisation and order.

    Args:
        rows: Tidy rows.
        baseline: Arm to subtract.
        arm: Arm to subtract it from; by default every other one.
        metric: Which metric.
        split: Which split.
        level: Only this level; by default all.
        confidence: Of the t-interval of the mean difference.

    Returns:
        One row per arm and level, columns ``arm baseline level density mean baseline_mean difference std n low high
        p_value smallest_p reason``. Only replicates that both arms have enter, in both means too. ``difference``,
        ``std``, ``low`` and ``high`` are of the paired differences, as :func:`estimate` gives them. ``p_value`` is that
        of :func:`sign_flip_test`, not corrected for the number of comparisons, and NaN for fewer than 3 replicates;
        ``smallest_p`` is the least that n replicates can reach. ``reason`` says why a number is NaN.

    Raises:
        UserError: When an arm is not in the rows, both are the same, no replicate has both, or as :func:`summarise`.
    """
    final = final_rows(rows, metric=metric, split=split)
    arms = arm_order(final)
    for name in (baseline, arm):
        if name is not None and name not in arms:
            raise UserError(
                f"There is no arm {name!r}.", expected=f"one of: {', '.join(arms)}", way_out="choose one of these"
            )
    if arm == baseline:
        raise UserError(
            f"Got the arm {arm!r} to compare with itself.",
            expected="two arms",
            way_out=f"choose two of: {', '.join(arms)}",
        )
    if level is not None:
        final = _only_level(final, level)
    keys = ["study", "replicate", "level"]
    base = final[final["arm"] == baseline].set_index(keys)["value"].rename("base")
    records = []
    for name in [arm] if arm is not None else [name for name in arms if name != baseline]:
        pairs = final[final["arm"] == name].join(base, on=keys).dropna(subset=["base"])
        for number, group in pairs.groupby("level"):
            who = {"arm": name, "baseline": baseline, "level": int(str(number)), "density": group["density"].mean()}
            values, others = group["value"].to_numpy(np.float64), group["base"].to_numpy(np.float64)
            records.append({**who, **_difference(values, others, bounds_of(metric), confidence)})
    if arm is not None and not records:
        raise UserError(
            f"No replicate has {metric} on {split} of both {arm} and {baseline} at a level.",
            expected="at least one level of one replicate that both arms have finished",
            way_out="run the study further",
        )
    return pd.DataFrame.from_records(records, columns=list(COMPARED))


def _only_level(final: pd.DataFrame, level: int) -> pd.DataFrame:
    chosen = final[final["level"] == level]
    if chosen.empty:
        known = ", ".join(str(number) for number in sorted(final["level"].unique()))
        raise UserError(
            f"There are no rows of level {level}.", expected=f"one of: {known}", way_out="choose one of these"
        )
    return chosen


def _difference(values: np.ndarray, others: np.ndarray, bounds: Bounds, confidence: float) -> dict[str, object]:
    with np.errstate(invalid="ignore"):  # infinite losses
        differences, (least, most) = values - others, bounds
    check_confidence(confidence)
    check_sample(differences, UNBOUNDED)
    # A difference of two sums is rounded on the scale of the sums: equal differences do not come out equal to the bit.
    scale = float(max(np.abs(values).max(), np.abs(others).max()))
    found = _estimate(differences, confidence, (least - most, most - least), scale)
    refused = found.reason if np.isnan(found.mean) else ""
    too_few = f"no p-value: fewer than {FEWEST_FOR_P} replicates" if found.n < FEWEST_FOR_P else ""
    return {
        "mean": float(values.mean()),
        "baseline_mean": float(others.mean()),
        "difference": found.mean,
        "std": found.std,
        "n": found.n,
        "low": found.low,
        "high": found.high,
        "p_value": np.nan if refused or too_few else sign_flip_test(differences, scale=scale),
        "smallest_p": np.nan if too_few else 2.0 ** (1 - found.n),
        "reason": "; ".join(filter(None, (found.reason.replace("value", "difference"), too_few))),
    }
