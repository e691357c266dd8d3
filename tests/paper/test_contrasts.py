"""A contrast is one number per replicate, of the arms and levels that it was made with."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ticketdiet.paper.contrasts import (
    accuracy,
    accuracy_difference,
    difference_of_differences,
    example_correlation,
    rank_correlation,
    stronger_correlation,
)

ARMS = tuple("abcdef")


def family_rows(rows_of, metric, values, **columns):
    """Rows of a barrier metric, or of pre-training when ``columns`` say so."""
    defaults = {"kind": "barrier", "pair": "family"}
    points = {(arm, 0): value for arm, value in values.items()}
    return rows_of(points, metric=metric, split="train", shared=0, own=0, **defaults | columns)


def test_a_difference_is_paired_by_replicate(rows_of):
    rows = rows_of({("a", 1): 0.5, ("b", 1): 0.4})
    found = accuracy_difference("a", 1, "b", 1)(rows)
    pivot = rows.pivot(index="replicate", columns="arm", values="value")
    np.testing.assert_allclose(found, pivot["a"] - pivot["b"])
    assert list(found.index) == list(range(8))


def test_a_replicate_that_one_arm_lacks_is_left_out(rows_of):
    rows = rows_of({("a", 1): 0.5, ("b", 1): 0.4})
    rows = rows[~((rows["arm"] == "b") & rows["replicate"].isin([2, 5]))]
    assert list(accuracy_difference("a", 1, "b", 1)(rows).index) == [0, 1, 3, 4, 6, 7]


def test_only_the_last_step_of_a_training_counts(rows_of):
    early = rows_of({("a", 1): 0.1}).assign(step=5)
    rows = pd.concat([rows_of({("a", 1): 0.5}, own=0, shared=0), early])
    np.testing.assert_allclose(accuracy(rows, "a", 1), 0.5)


def test_without_rows_there_are_no_numbers(rows_of):
    nothing = rows_of({}, replicates=0)
    assert accuracy_difference("a", 1, "b", 1)(nothing).empty
    assert rank_correlation(ARMS, "mean barrier", 1)(nothing).empty
    assert example_correlation("a")(nothing).empty


def test_a_gain_is_compared_with_a_gain(rows_of):
    means = {("easy-n", 1): 0.6, ("all-n", 1): 0.4, ("easy", 1): 0.65, ("all", 1): 0.6}
    found = difference_of_differences(("easy-n", "all-n"), ("easy", "all"), 1)(rows_of(means, own=0))
    np.testing.assert_allclose(found, 0.15)


def test_a_rank_correlation_is_scipys_in_every_replicate(rows_of):
    generator = np.random.default_rng(3)
    barriers = dict(zip(ARMS, generator.random(6), strict=True))
    accuracies = rows_of({(arm, 2): value for arm, value in zip(ARMS, generator.random(6), strict=True)}, own=0.2)
    rows = pd.concat([accuracies, family_rows(rows_of, "barrier_mean", barriers)])
    found = rank_correlation(ARMS, "mean barrier", 2)(rows)
    wide = accuracies.pivot(index="replicate", columns="arm", values="value")
    for replicate in range(8):
        expected = spearmanr([barriers[arm] for arm in ARMS], wide.loc[replicate, list(ARMS)]).statistic
        assert found[replicate] == pytest.approx(expected)


def test_pairs_of_a_family_do_not_count_beside_the_family(rows_of):
    barriers = {arm: place / 10 for place, arm in enumerate(ARMS)}
    accuracies = rows_of({(arm, 2): -value for arm, value in barriers.items()}, own=0)
    pairs = family_rows(
        rows_of, "barrier_mean", {arm: -9 * value for arm, value in barriers.items()}, pair="child1-child2"
    )
    rows = pd.concat([accuracies, pairs, family_rows(rows_of, "barrier_mean", barriers)])
    np.testing.assert_allclose(rank_correlation(ARMS, "mean barrier", 2)(rows), -1)


def test_the_stronger_of_two_predictors_has_the_larger_absolute_correlation(rows_of):
    accuracies = rows_of({(arm, 2): place for place, arm in enumerate(ARMS)}, own=0)
    barriers = family_rows(rows_of, "barrier_mean", {arm: -place for place, arm in enumerate(ARMS)})
    shuffled = dict(zip(ARMS, [2, 0, 1, 5, 3, 4], strict=True))
    points = {(arm, 0): value for arm, value in shuffled.items()}
    trained = rows_of(points, metric="accuracy_recalibrated", own=0, kind="pretrain").assign(level=None)
    found = stronger_correlation(ARMS, "mean barrier", "accuracy after pre-training", 2)(
        pd.concat([accuracies, barriers, trained])
    )
    np.testing.assert_allclose(found, 1 - spearmanr(list(shuffled.values()), range(6)).statistic)


def test_arms_that_are_all_equal_have_no_rank_correlation(rows_of):
    accuracies = rows_of({(arm, 2): 0.5 for arm in ARMS}, own=0, shared=0)
    barriers = family_rows(rows_of, "barrier_mean", {arm: place for place, arm in enumerate(ARMS)})
    assert rank_correlation(ARMS, "mean barrier", 2)(pd.concat([accuracies, barriers])).empty
