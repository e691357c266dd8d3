"""Synthetic evidence: rows of arms whose accuracies are known by construction."""

import numpy as np
import pandas as pd
import pytest

from ticketdiet.reports.rows import COLUMNS


@pytest.fixture(scope="session")
def rows_of():
    """Makes rows from (arm, level) -> mean, with noise that the arms of a replicate share and noise of their own."""

    def make(means, *, replicates=8, shared=0.01, own=0.001, seed=0, metric="accuracy", split="test", **columns):
        generator = np.random.default_rng(seed)
        together = generator.normal(0, shared, replicates)
        records = [
            {
                "study": "s",
                "arm": arm,
                "replicate": replicate,
                "level": level,
                "density": 0.5**level,
                "step": 10,
                "metric": metric,
                "split": split,
                "value": mean + together[replicate] + generator.normal(0, own),
                "address": "a",
                "kind": "level",
            }
            | columns
            for (arm, level), mean in means.items()
            for replicate in range(replicates)
        ]
        return pd.DataFrame(records, columns=list(dict.fromkeys([*COLUMNS, "kind", *columns])))

    return make
