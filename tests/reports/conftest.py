"""Tidy rows of an imaginary study with known numbers."""

import pandas as pd
import pytest

DENSITIES = (1.0, 0.512, 0.262)
VALUES = {
    "k=0": [[0.90, 0.88, 0.80], [0.92, 0.86, 0.82], [0.91, 0.87, 0.78]],
    "all@20": [[0.91, 0.90, 0.89], [0.93, 0.91, 0.90], [0.92, 0.89, 0.88]],
}


def _make(values=VALUES, **columns):
    return pd.DataFrame(
        [
            {
                "study": "imaginary",
                "arm": arm,
                "replicate": replicate,
                "level": level,
                "density": DENSITIES[level],
                "step": 600,
                "metric": "accuracy",
                "split": "test",
                "value": value,
                "address": f"{replicate}{level}".rjust(24, "0"),
                **columns,
            }
            for arm, replicates in values.items()
            for replicate, levels in enumerate(replicates)
            for level, value in enumerate(levels)
        ]
    )


@pytest.fixture
def make_rows():
    return _make


@pytest.fixture
def rows():
    return _make()
