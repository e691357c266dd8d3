"""Synthetic evidence: rows of arms whose accuracies are known by construction."""

import numpy as np
import pandas as pd
import pytest

from ticketdiet.paper.setting import Setting
from ticketdiet.reports.rows import COLUMNS


@pytest.fixture(scope="session")
def tiny_setting():
    """A setting that runs in seconds."""
    return Setting(
        recipe="digits",
        scale="mini",
        study={
            "dataset": {"name": "digits", "limit": 96},
            "model": {"name": "resnet8", "width": 4},
            "training": {"steps": 8, "batch_size": 16, "lr": 0.05, "crop_padding": 1, "flip": False},
            "pruning": {"fraction": 0.5, "levels": 1},
            "replicates": 2,
        },
        score={"kind": "el2n", "models": 2, "steps": 4},
        early=2,
        late=4,
        sweep=(),
        size=32,
        sizes=(),
        matching=0.5,
        sparse=0.5,
    )


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
