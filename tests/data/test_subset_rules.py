"""The rules behind the kinds of subset."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.data.subset_rules import SUBSETS, Draws, Pool, SubsetRule, divide_evenly
from ticketdiet.data.subsets import choose_subset


def test_draws_are_a_function_of_seed_and_role() -> None:
    one, again, other = Draws(1, 50), Draws(1, 50), Draws(2, 50)
    assert np.array_equal(one.of("ties"), again.of("ties"))
    assert not np.array_equal(one.of("ties"), one.of("random"))
    assert not np.array_equal(one.of("ties"), other.of("ties"))
    assert sorted(one.order("strata", 9, part=2)) == list(range(9))


def test_the_keys_of_a_pool_are_those_of_its_members() -> None:
    draws = Draws(0, 10)
    pool = Pool(np.array([2, 7]), None, draws)
    assert pool.keys("random").tolist() == draws.of("random")[[2, 7]].tolist()


def test_another_package_adds_a_kind_with_one_verb() -> None:
    class EveryOther(SubsetRule):
        def pick(self, pool: Pool, size: int) -> np.ndarray:
            return np.isin(np.arange(len(pool)), np.arange(0, 2 * size, 2))

    SUBSETS._known["every_other"] = EveryOther
    try:
        assert choose_subset(10, "every_other", 3).tolist() == [0, 2, 4]
    finally:
        del SUBSETS._known["every_other"]


@given(
    capacities=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_shares_are_complete_even_and_grow_with_the_total(capacities: list[int], data: st.DataObject) -> None:
    room = np.array(capacities)
    total = data.draw(st.integers(0, int(room.sum())))
    order = np.arange(len(room))
    shares = divide_evenly(total, room, order)
    assert shares.sum() == total
    assert (shares <= room).all()
    assert (shares[shares < room] >= shares.max(initial=0) - 1).all()
    if total:
        assert (divide_evenly(total - 1, room, order) <= shares).all()
