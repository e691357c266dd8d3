"""Scores that are given or drawn, and the permuted control."""

from __future__ import annotations

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_with_model
from ticketdiet.scores.given import permute_scores
from ticketdiet.scores.stability import spearman

from .conftest import noisy_scores


def test_a_barrier_score_is_the_given_numbers_averaged_over_pairs(images: Images) -> None:
    values = np.random.default_rng(0).normal(size=(3, len(images)))
    scores = score_with_model("barrier", None, images, options=ScoreOptions(values=values))
    np.testing.assert_allclose(scores, values.mean(axis=0), rtol=1e-5)
    with pytest.raises(DataError, match="needs barriers"):
        score_with_model("barrier", None, images)
    with pytest.raises(DataError, match="shape"):
        score_with_model("barrier", None, images, options=ScoreOptions(values=values[:, :5]))
    values[:, 7] = np.inf
    with pytest.raises(DataError, match="inf at example 7"):
        score_with_model("barrier", None, images, options=ScoreOptions(values=values))


def test_random_scores_follow_the_seed(images: Images) -> None:
    first, again, other = (score_with_model("random", None, images, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_permuted_scores_keep_their_distribution_and_lose_their_examples() -> None:
    scores = noisy_scores(3, 0.1)
    permuted = permute_scores(scores, seed=1)
    assert np.sort(permuted.mean).tolist() == np.sort(scores.mean).tolist()
    assert abs(spearman(permuted.mean, scores.mean)) < 0.2
    assert permuted.provenance["permuted"] == 1
    assert (permute_scores(scores, seed=1).matrix == permuted.matrix).all()
