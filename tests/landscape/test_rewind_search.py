import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.barrier import Barrier
from ticketdiet.landscape.rewind_search import ConnectedWhen, Evidence, bisect_connected


def rule_at(threshold: float, asked: list[int]):
    def is_connected(k: int) -> Evidence:
        asked.append(k)
        return Evidence(k, 1.0 / (k + 1), 0.5, k >= threshold)

    return is_connected


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=60), st.integers(0, 5001))
def test_monotone_verdicts_give_the_smallest_connected_step(steps: set[int], threshold: int) -> None:
    asked: list[int] = []
    answer = bisect_connected(list(steps), rule_at(threshold, asked))
    assert answer.k == min((k for k in steps if k >= threshold), default=None)
    assert answer.below == max((k for k in steps if k < threshold), default=None)
    assert len(asked) == len(set(asked)) <= math.floor(math.log2(len(steps))) + 1
    assert [found.k for found in answer.evidence] == asked
    assert answer.candidates == tuple(sorted(steps))


def test_never_connected_is_said_after_probing_the_last_step() -> None:
    answer = bisect_connected([0, 20, 100], rule_at(math.inf, []))
    assert answer.k is None
    assert answer.below == 100
    assert 100 in [found.k for found in answer.evidence]


def test_always_connected_is_said_after_probing_the_first_step() -> None:
    answer = bisect_connected([0, 20, 100], rule_at(0, []))
    assert (answer.k, answer.below) == (0, None)
    assert 0 in [found.k for found in answer.evidence]


def test_the_answer_is_connected_right_above_one_that_is_not_whatever_the_verdicts() -> None:
    verdicts = {0: False, 10: True, 20: False, 30: True, 40: True}
    answer = bisect_connected(list(verdicts), lambda k: Evidence(k, 0.0, 0.0, verdicts[k]))
    assert answer.k is not None
    assert verdicts[answer.k]
    assert answer.below is not None
    assert not verdicts[answer.below]


@pytest.mark.parametrize("steps", [[], [1, 1], [-1, 2]])
def test_steps_that_cannot_be_searched_are_refused(steps: list[int]) -> None:
    with pytest.raises(UserError, match="pre-training steps"):
        bisect_connected(steps, rule_at(0, []))


def test_the_verdict_needs_all_that_is_asked_for() -> None:
    losses = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    barrier = Barrier((0.0, 0.5, 1.0), losses, torch.ones(3, 2, dtype=torch.bool))
    assert ConnectedWhen(max_barrier=0.25).judge(7, barrier.per_example) == Evidence(7, 0.25, 0.5, True)
    assert not ConnectedWhen(max_barrier=0.2).judge(7, barrier.per_example).connected
    assert ConnectedWhen(min_fraction=0.5).judge(7, barrier.per_example).connected
    assert not ConnectedWhen(max_barrier=0.25, min_fraction=0.6).judge(7, barrier.per_example).connected
    assert ConnectedWhen(min_fraction=1.0, tolerance=0.5).judge(7, barrier.per_example).connected


def test_a_rule_that_says_nothing_or_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="rule asks for nothing"):
        ConnectedWhen()
    with pytest.raises(UserError, match="min_fraction"):
        ConnectedWhen(min_fraction=95)
    with pytest.raises(UserError, match="tolerance"):
        ConnectedWhen(max_barrier=0.1, tolerance=-1)
