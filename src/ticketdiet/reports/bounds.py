"""Which values a metric can have, and which samples of it are refused."""

from __future__ import annotations

import numpy as np

from ticketdiet.core.errors import UserError

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-np.inf, np.inf)
BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(("accuracy", "error", "connected_fraction", "noise_auroc", "noise_precision"), (0.0, 1.0)),
    **dict.fromkeys(("error_barrier", "gradient_cosine"), (-1.0, 1.0)),
    "loss": (0.0, np.inf),
}
EQUAL = 1e-9  # relative: values nearer than this differ by rounding alone


def bounds_of(metric: str) -> Bounds:
    """Return the least and the greatest value that a metric can have, infinite where it has no bound."""
    return BOUNDS.get(metric.removesuffix("_recalibrated"), UNBOUNDED)


def check_confidence(confidence: float) -> None:
    """Raise ``UserError`` for a confidence outside (0, 1)."""
    if not 0 < confidence < 1:
        raise UserError(f"Got confidence={confidence}.", expected="a number in (0, 1)", way_out="for example 0.95")


def check_sample(sample: np.ndarray, bounds: Bounds) -> None:
    """Raise ``UserError`` when there is no value, or one is outside ``bounds``."""
    if sample.size == 0:
        raise UserError("There are no values.", expected="at least one replicate", way_out="run the study first")
    outside = sample[np.isfinite(sample)]
    outside = outside[(outside < bounds[0] - EQUAL) | (outside > bounds[1] + EQUAL)]
    if outside.size:
        raise UserError(
            f"Got the value {outside[0]:g}, which is outside [{bounds[0]:g}, {bounds[1]:g}].",
            expected="values within the bounds",
            way_out="give fractions, not percent, or other bounds",
        )
