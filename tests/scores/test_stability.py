"""Agreement between rankings of several networks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from ticketdiet.core.errors import DataError
from ticketdiet.scores.stability import rank_stability, spearman

from .conftest import noisy_scores


def test_stability_grows_with_the_number_of_models_and_ends_at_one() -> None:
    rows = rank_stability(noisy_scores(6, 0.7), size=100)
    assert [row.models for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0].spearman < rows[2].spearman < rows[5].spearman
    assert rows[5].spearman == pytest.approx(1)
    assert rows[5].overlap == 1
    assert rows[3].held_out_spearman is None
    assert rows[0].held_out_spearman is not None
    assert rows[0].held_out_spearman < rows[0].spearman


def test_models_that_agree_are_stable_at_once() -> None:
    rows = rank_stability(noisy_scores(4, 0.0), size=50, models=(1, 2))
    assert all(row.spearman == pytest.approx(1) and row.overlap == 1 for row in rows)


def test_spearman_matches_scipy_and_knows_infinity_and_constants() -> None:
    a, b = np.random.default_rng(0).integers(0, 9, (2, 100)).astype(float)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(np.array([1.0, 2, np.inf]), np.array([0.0, 5, 6])) == pytest.approx(1)
    assert spearman(np.ones(5), np.arange(5.0)) == 0


def test_stability_of_a_single_model_is_refused() -> None:
    with pytest.raises(DataError, match="at least two networks"):
        rank_stability(noisy_scores(1, 0.1), size=10)
