import random

import pytest

from ticketdiet.studies.frontier import Frontier


def readiest(plan, undone, waiting):
    """The definition: of the stages that lack nothing, the first replicate's, and of these the longest chain."""
    behind = {}
    for address in reversed(plan.stages):
        needing = [other for other, stage in plan.stages.items() if address in stage.inputs.values()]
        behind[address] = plan.stages[address].cost.steps + 1 + max((behind[other] for other in needing), default=0)
    ready = [address for address in waiting if undone.isdisjoint(plan.stages[address].inputs.values())]
    keys = {a: (min(use.replicate for use in plan.stages[a].uses), -behind[a]) for a in ready}
    return {a for a in ready if keys[a] == min(keys.values())}


@pytest.fixture(scope="module")
def plan(plan_tiny):
    return plan_tiny("children=2", "replicates=2")


@pytest.mark.parametrize("seed", range(3))
def test_it_offers_the_most_urgent_stage_that_has_its_inputs_whatever_finishes_first(plan, seed):
    rng, frontier = random.Random(seed), Frontier(plan, plan.stages)
    undone, running = set(plan.stages), []
    while undone:
        address = frontier.pop() if len(running) < 3 else None
        expected = readiest(plan, undone, frontier.waiting)
        if address is not None:
            assert address in expected
            frontier.begin(address)
            running.append(address)
        elif len(running) < 3:
            assert not expected
        if address is None:
            done = running.pop(rng.randrange(len(running)))
            undone.remove(done)
            frontier.finish(done)
    assert not frontier.waiting


def test_a_stage_that_was_offered_again_comes_again(plan):
    frontier = Frontier(plan, plan.stages)
    first = frontier.pop()
    assert first is not None
    frontier.offer(first)
    assert frontier.is_ready(first)
    assert frontier.pop() == first


def test_stages_that_are_there_are_not_waited_for(plan):
    last = list(plan.stages)[-1]
    assert Frontier(plan, [last]).pop() == last


def test_what_needs_a_failed_stage_is_never_offered(plan):
    frontier = Frontier(plan, plan.stages)
    failed = frontier.pop()
    assert failed is not None
    frontier.begin(failed)
    while (address := frontier.pop()) is not None:
        frontier.begin(address)
        frontier.finish(address)
    assert frontier.waiting
    for address in frontier.waiting:
        assert failed in {stage.address for stage in plan.reached_from([address]).values()}
        assert not frontier.is_ready(address)


def test_a_damaged_input_comes_before_what_needs_it_again(plan):
    child = next(stage for stage in plan.stages.values() if stage.kind == "child")
    frontier = Frontier(plan, [child.address])
    assert frontier.pop() == child.address
    frontier.begin(child.address)
    frontier.add([child.parent, child.address])
    assert frontier.pop() == child.parent
    assert frontier.pop() is None
    frontier.begin(child.parent)
    frontier.finish(child.parent)
    assert frontier.pop() == child.address


def test_a_chain_goes_on_with_what_needs_nothing_but_its_stages(plan):
    frontier = Frontier(plan, plan.stages)
    point = next(stage.address for stage in plan.stages.values() if stage.kind == "pretrain" and not stage.inputs)
    chain = [point]
    frontier.begin(point)
    while (following := frontier.following(chain)) is not None:
        frontier.begin(following)
        chain.append(following)
    assert [plan.stages[address].kind for address in chain] == ["pretrain", "level", "level", "level"]
    assert frontier.following([chain[1]]) is None  # the children of level 0 also need the point, which is not in it


def test_what_was_not_begun_after_all_is_waited_for_again(plan):
    frontier = Frontier(plan, plan.stages)
    point = next(stage.address for stage in plan.stages.values() if stage.kind == "pretrain" and not stage.inputs)
    frontier.begin(point)
    following = frontier.following([point])
    assert following is not None
    frontier.begin(following)
    frontier.add([following])
    assert not frontier.is_ready(following)
    frontier.finish(point)
    assert frontier.is_ready(following)
