import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.landscape.per_example import connected_by_class, connected_by_quantile, first_connected

finite = st.floats(-10, 10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=60))
def test_every_example_is_counted_once(points: list[tuple[float, float]]) -> None:
    barriers, scores = np.array(points).T
    groups = connected_by_quantile(barriers, scores, quantiles=min(5, len(points)), tolerance=0.5)
    assert groups.counts.sum() == len(points)
    assert groups.counts.max() - groups.counts.min() <= 1
    assert (groups.fractions * groups.counts).sum() == pytest.approx((barriers <= 0.5).sum())
    assert groups.bounds is not None
    assert (np.diff(groups.bounds.ravel()) >= 0).all()


def test_easy_examples_that_connect_first_show_as_a_falling_fraction() -> None:
    scores = np.arange(100.0)
    barriers = np.where(scores < 50, 0.0, 1.0)
    assert connected_by_quantile(barriers, scores, quantiles=4).fractions.tolist() == [1, 1, 0, 0]
    assert connected_by_quantile(barriers, -scores, quantiles=4).fractions.tolist() == [0, 0, 1, 1]


def test_ties_are_broken_by_the_seed_and_not_by_the_order() -> None:
    barriers, scores = np.arange(1000) / 1000, np.zeros(1000)
    first, again, other = (connected_by_quantile(barriers, scores, tolerance=0.5, seed=s).fractions for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 0.3 < first.min() <= first.max() < 0.7


def test_each_class_has_its_fraction_and_an_absent_one_has_none() -> None:
    found = connected_by_class([0.0, 0.3, 0.05, 0.0], [0, 0, 2, 2], ("cat", "dog", "fox"), tolerance=0.1)
    assert found.names == ("cat", "dog", "fox")
    assert found.counts.tolist() == [2, 0, 2]
    np.testing.assert_array_equal(found.fractions, [0.5, np.nan, 1.0])
    np.testing.assert_allclose(found.mean_barriers, [0.15, np.nan, 0.025])


def test_the_first_step_at_which_an_example_is_connected() -> None:
    barriers = [[0.0, 1.0, 1.0], [1.0, 0.05, 1.0], [0.0, 0.0, 1.0]]
    assert first_connected([0, 20, 100], barriers).tolist() == [0, 20, -1]


def test_mistakes_are_refused() -> None:
    with pytest.raises(DataError, match="same order"):
        connected_by_quantile([0.0], [0.0, 1.0])
    with pytest.raises(DataError, match="1 of the 2 scores are NaN"):
        connected_by_quantile([0.0, 1.0], [0.0, np.nan], quantiles=1)
    with pytest.raises(UserError, match="tolerance is -1"):
        connected_by_class([0.0], [0], ("a",), tolerance=-1)
    with pytest.raises(UserError, match="3 quantiles of 2"):
        connected_by_quantile([0.0, 1.0], [0.0, 1.0], quantiles=3)
    with pytest.raises(UserError, match="ascending"):
        first_connected([20, 0], [[0.0], [0.0]])
    with pytest.raises(DataError, match="2 steps"):
        first_connected([0, 20], [[0.0]])
