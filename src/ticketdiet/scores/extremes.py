"""Which examples a score finds easiest and hardest, class by class, for people to look at."""

from __future__ import annotations

import numpy as np

SHOWN_PER_CLASS = 6


def class_extremes(labels: np.ndarray, values: np.ndarray, per_class: int = SHOWN_PER_CLASS) -> np.ndarray:
    """Return the easiest and the hardest examples of every class.

    Args:
        labels: int64 of shape (n,).
        values: Scores of shape (n,), high means hard; ties are taken in the order of the data.
        per_class: Examples at each end; all of a class that has fewer.

    Returns:
        int64 of shape (at most 2 * per_class * classes,), ascending, each index once.
    """
    chosen = [np.zeros(0, dtype=np.int64)]
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        order = own[np.argsort(values[own], kind="stable")]
        chosen += [order[:per_class], order[-per_class:]]
    found: np.ndarray = np.unique(np.concatenate(chosen))
    return found
