"""The run gives an executor that takes chains whole chains, and to others one ready stage at a time."""

from concurrent.futures import Future

import pytest

from ticketdiet.core.errors import StagesFailed, UserError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.context import Context
from ticketdiet.studies.executors.base import NotBegun
from ticketdiet.studies.run import run_plan
from ticketdiet.studies.work import perform


class Chains:
    """Works whole chains here, the one submitted last first, so that nothing but the stages' needs orders them."""

    capacity, longest_chain = 100, 3

    def __init__(self, store, fails=None):
        self._context, self.chains, self._fails = Context(store), [], fails
        self._left = []

    def submit(self, stage):
        raise AssertionError("chains are submitted as such")

    def submit_chain(self, stages):
        futures: list[Future[tuple[str, ...]]] = [Future() for _ in stages]
        self.chains.append([stage.address for stage in stages])
        self._left.append((stages, futures))
        return futures

    def progress(self):
        while self._left:
            stages, futures = self._left.pop()
            failed = False
            for stage, future in zip(stages, futures, strict=True):
                if failed:
                    future.set_exception(NotBegun())
                elif stage.label == self._fails:
                    failed = True
                    future.set_exception(UserError("It cannot be."))
                else:
                    future.set_result(perform(self._context, stage))
        return []

    def close(self, *, now=False):
        pass


@pytest.fixture
def plan(plan_tiny):
    return plan_tiny("children=2")


def test_chains_hold_only_what_needs_nothing_else_and_give_the_same_results(plan, store, tmp_path, run_tiny, contents):
    executor = Chains(store)
    assert run_plan(plan, store, executor=executor).made == len(plan.stages)
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    assert contents(store, plan) == contents(alone, plan)
    done = set()
    for chain in executor.chains:
        for address in chain:
            assert set(plan.stages[address].inputs.values()) <= done | set(chain[: chain.index(address)])
        done |= set(chain)
    assert max(map(len, executor.chains)) == 3
    assert sorted(address for chain in executor.chains for address in chain) == sorted(plan.stages)
    # The longest chain goes first, and what can be done beside it stays free for other jobs.
    kinds = [[plan.stages[address].kind for address in chain] for chain in executor.chains]
    assert ["pretrain", "level", "level"] in kinds
    assert max(chain.count("child") for chain in kinds) == 1


def test_what_stands_behind_a_failed_stage_of_a_chain_is_left_and_the_lease_is_given_back(plan, store):
    executor = Chains(store, fails="level · none@0 · replicate 0 · level 0")
    with pytest.raises(StagesFailed, match=r"1 stage\(s\) failed, and \d+ that need them were left(.|\n)*It cannot be"):
        run_plan(plan, store, executor=executor)
    behind = [s.address for s in plan.stages.values() if s.kind == "level" and s.uses[0].arm == "none@0"]
    assert not any(map(store.has, behind))
    assert sum(map(store.has, plan.stages)) > len(plan.stages) / 2
    assert store.held() == {}
    assert store._place.children("leases") == []


def test_a_chain_ends_where_another_run_works(plan, store):
    first = next(s for s in plan.stages.values() if s.kind == "level" and s.level == 1 and s.uses[0].arm == "none@0")
    executor = Chains(store)
    with store.drive([first.address]) as other:
        assert other.take(first.address)

        class Watches(Chains):
            def progress(self):
                found = super().progress()
                if [first.inputs["previous"]] == [
                    chain[-1] for chain in self.chains if first.inputs["previous"] in chain
                ]:
                    other.release(first.address)
                return found

        executor = Watches(store)
        assert run_plan(plan, store, executor=executor).made == len(plan.stages)
    assert any(chain[0] == first.address for chain in executor.chains)
