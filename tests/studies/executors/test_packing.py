from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.studies.executors.packing import LEAST_WORK, pack, work_of


def chain(*works: float) -> Any:
    return tuple(SimpleNamespace(cost=SimpleNamespace(flops=work * LEAST_WORK)) for work in works)


def works(jobs):
    return [[round(work_of(one) / LEAST_WORK) for one in job] for job in jobs]


def test_short_chains_share_a_job_that_takes_no_longer_than_the_longest():
    chains = [chain(1), chain(4, 6), chain(3), chain(7), chain(2)]
    assert works(pack(chains, most_jobs=64, most_stages=16)) == [[10], [7, 3], [2, 1]]


def test_equal_chains_get_a_job_each_unless_the_run_had_longer_ones():
    chains = [chain(1) for _ in range(6)]
    assert works(pack(chains, most_jobs=64, most_stages=16)) == [[1]] * 6
    assert works(pack(chains, longest=3 * LEAST_WORK, most_jobs=64, most_stages=16)) == [[1, 1, 1]] * 2


def test_fewer_jobs_take_more_and_what_does_not_fit_is_left_out():
    chains = [chain(1) for _ in range(6)]
    assert works(pack(chains, most_jobs=2, most_stages=16)) == [[1, 1, 1]] * 2
    assert works(pack(chains, most_jobs=2, most_stages=2)) == [[1, 1]] * 2


def test_a_stage_that_computes_nothing_still_counts():
    assert work_of(chain(0)) == LEAST_WORK
    assert pack([], most_jobs=3, most_stages=4) == []


lists_of_works = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), max_size=20)


@given(lists_of_works, st.integers(1, 8), st.integers(4, 16))
def test_each_chain_is_in_one_job_whole_and_no_limit_is_broken(numbers, most_jobs, most_stages):
    chains = [chain(*each) for each in numbers]
    jobs = pack(chains, most_jobs=most_jobs, most_stages=most_stages)
    packed = [id(one) for job in jobs for one in job]
    assert len(packed) == len(set(packed))
    assert set(packed) <= {id(one) for one in chains}
    assert len(jobs) <= most_jobs
    assert all(sum(map(len, job)) <= most_stages for job in jobs)
    if sum(map(len, chains)) <= most_jobs * (most_stages - 3):
        assert len(packed) == len(chains)
