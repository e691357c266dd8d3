"""What replicates say: means, spreads, intervals, paired differences and correlations.

Spreads are sample standard deviations (ddof = 1, the unbiased variance): with two to four replicates the population
formula (ddof = 0) that published bands use is 13 to 29 % too narrow. Intervals of means are Student's t. Where a number
needs more replicates than there are it is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.prediction import predict
from ticketdiet.reports.rows import arm_order, final_rows


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates.

    Attributes:
        mean: The mean.
        std: Sample standard deviation (ddof = 1), NaN for one value.
        n: Number of values.
        low: Lower end of the t-interval of the mean, NaN for one value.
        high: Upper end.
    """

    mean: float
    std: float
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """A correlation coefficient with a bootstrap interval.

    Attributes:
        kind: ``"pearson"`` (of values) or ``"spearman"`` (of ranks).
        value: The coefficient, NaN when it is undefined.
        low: Lower end of the percentile bootstrap interval.
        high: Upper end.
        n: Number of points.
    """

    kind: str
    value: float
    low: float
    high: float
    n: int


def estimate(values: npt.ArrayLike, confidence: float = 0.95) -> Estimate:
    """Estimate a mean from independent values, shape (n,).

    Raises:
        UserError: When there is no value.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        raise UserError("a mean of no values.", expected="at least one replicate", way_out="run the study first")
    mean = float(sample.mean())
    if sample.size == 1:
        return Estimate(mean, float("nan"), 1, float("nan"), float("nan"))
    std = float(sample.std(ddof=1))
    reach = float(stats.t.ppf((1 + confidence) / 2, sample.size - 1)) * std / float(np.sqrt(sample.size))
    return Estimate(mean, std, int(sample.size), mean - reach, mean + reach)


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
        Columns ``arm level density mean std n low high``; ``density`` is the mean over replicates, because the
        threshold rule removes slightly different numbers of weights.
    """
    final = final_rows(rows, metric=metric, split=split)
    order = {arm: place for place, arm in enumerate(arm_order(final))}
    records = []
    for _, group in final.groupby(["arm", "level"]):
        first, density = group.iloc[0], float(group["density"].mean())
        found = estimate(group["value"], confidence)
        records.append({"arm": first["arm"], "level": int(first["level"]), "density": density, **vars(found)})
    records.sort(key=lambda record: (order[record["arm"]], record["level"]))
    return pd.DataFrame.from_records(records)


def compare(
    rows: pd.DataFrame, *, baseline: str, metric: str = "accuracy", split: str = "test", confidence: float = 0.95
) -> pd.DataFrame:
    """Compare every arm with a baseline, replicate by replicate: the same replicate shares its initialisation.

    Args:
        rows: Tidy rows.
        baseline: Arm to subtract.
        metric: Which metric.
        split: Which split.
        confidence: Of the t-interval of the mean difference.

    Returns:
        Columns ``arm baseline level density difference std n low high p_value``: the mean of the paired differences,
        and the two-sided p-value of the paired t-test, not corrected for the number of comparisons. Only replicates
        that both arms have enter.

    Raises:
        UserError: When the baseline is no arm of the rows.
    """
    final = final_rows(rows, metric=metric, split=split)
    arms = arm_order(final)
    if baseline not in arms:
        raise UserError(f"no arm {baseline!r}.", expected=f"one of: {', '.join(arms)}", way_out="choose one of these")
    keys = ["replicate", "level"]
    base = final[final["arm"] == baseline].set_index(keys)["value"]
    records = []
    for arm in (arm for arm in arms if arm != baseline):
        own = final[final["arm"] == arm].set_index(keys)
        own = own.assign(difference=own["value"] - base).dropna(subset=["difference"]).reset_index()
        for _, group in own.groupby("level"):
            found, level = estimate(group["difference"], confidence), int(group["level"].iloc[0])
            record = {"arm": arm, "baseline": baseline, "level": level, "density": float(group["density"].mean())}
            numbers = {"difference": found.mean, "std": found.std, "n": found.n, "low": found.low, "high": found.high}
            records.append({**record, **numbers, "p_value": _p_value(found)})
    columns = ["arm", "baseline", "level", "density", "difference", "std", "n", "low", "high", "p_value"]
    return pd.DataFrame.from_records(records, columns=columns)


def correlate(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    kind: Literal["pearson", "spearman"] = "pearson",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Correlate two measurements of the same points.

    Args:
        x: Shape (points,).
        y: Shape (points,).
        kind: ``"pearson"`` or ``"spearman"`` (ranks, ties averaged).
        confidence: Of the percentile bootstrap interval, which resamples points.
        resamples: Bootstrap samples; those in which a coefficient is undefined are left out.
        seed: Seed of the resampling.

    Raises:
        UserError: When the shapes differ.
    """
    a, b = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if a.shape != b.shape:
        raise UserError(f"{a.size} x values with {b.size} y values.", expected="one pair a point", way_out="match them")
    if a.size < 3:
        return Correlation(kind, float("nan"), float("nan"), float("nan"), int(a.size))
    found = predict(a, b, resamples=resamples, confidence=confidence, seed=seed)
    one = found.pearson if kind == "pearson" else found.spearman
    return Correlation(kind, one.value, one.low, one.high, found.points)


def _p_value(found: Estimate) -> float:
    if found.n < 2:
        return float("nan")
    if found.std == 0:
        return 1.0 if found.mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(found.mean) / (found.std / np.sqrt(found.n)), found.n - 1))
