"""Two processes that work together give what one gives: ``ranks_at_work.py`` has the cases."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ticketdiet.training.distributed import ALONE, Ranks, present_ranks

SCRIPT = Path(__file__).with_name("ranks_at_work.py")
# Rounding after 12 steps of about 1e-2 each; a slip in what is summed or normalised by is a hundred times larger.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What every case gives in one process, and in each of two that work together."""
    folder = tmp_path_factory.mktemp("ranks")
    groups = {"alone": (0, 1), "first": (0, 2), "second": (1, 2)}
    command = [sys.executable, "-W", "error", str(SCRIPT)]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(count), str(folder / "meeting"), str(folder / name)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, (rank, count) in groups.items()
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert not any(process.returncode for process in running), errors
    return {name: torch.load(folder / name, weights_only=True) for name in groups}


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.parametrize("case", ["trained", "masked", "ghosts"])
def test_a_training_by_two_ranks_is_that_of_one_to_rounding(outcomes, case):
    assert largest_difference(outcomes["alone"][case], outcomes["first"][case]) < TOLERANCE


def test_a_training_in_bfloat16_by_two_ranks_goes_where_that_of_one_goes(outcomes):
    alone, first = (outcomes[name]["in_bfloat16"] for name in ("alone", "first"))
    moved, apart = alone["moved"].norm(), (alone["moved"] - first["moved"]).norm()
    assert apart < 0.1 * moved


@pytest.mark.parametrize("case", ["trained", "masked", "ghosts", "in_bfloat16", "recorded", "el2n", "barriers"])
def test_all_ranks_have_the_same_bits_running_statistics_included(outcomes, case):
    assert largest_difference(outcomes["first"][case], outcomes["second"][case]) == 0


def test_ghost_batches_are_another_training(outcomes):
    alone = outcomes["alone"]
    assert largest_difference(alone["trained"], alone["ghosts"]) > 100 * TOLERANCE


@pytest.mark.parametrize("who", ["alone", "first", "second"])
def test_a_resumed_training_is_equal_to_the_bit(outcomes, who):
    assert all(difference == 0 for difference in outcomes[who]["resumed"].values())


@pytest.mark.parametrize("case", ["recorded", "el2n"])
def test_scores_are_those_of_one_process_to_rounding(outcomes, case):
    assert largest_difference(outcomes["alone"][case], outcomes["first"][case]) < TOLERANCE


@pytest.mark.parametrize("case", ["evaluated", "barriers"])
def test_evaluation_and_barriers_are_equal_to_the_bit_to_those_of_one_process(outcomes, case):
    assert largest_difference(outcomes["alone"][case], outcomes["first"][case]) == 0


def test_a_loss_that_is_infinite_on_one_rank_stops_all_at_the_same_step(outcomes):
    messages = {outcomes[who]["one_bad_example"] for who in outcomes}
    assert len(messages) == 1
    assert "stopped being finite at step" in messages.pop()


@pytest.mark.parametrize(
    ("case", "says"), [("batch_of_fifteen", "15 examples"), ("ghosts_too_large", "16 examples do not divide the 8")]
)
def test_batches_that_ranks_cannot_share_are_refused_by_all(outcomes, case, says):
    assert outcomes["alone"][case] is None
    assert says in outcomes["first"][case]
    assert outcomes["first"][case] == outcomes["second"][case]


def test_what_ranks_may_see_differently_is_decided_by_the_first(outcomes):
    assert outcomes["first"]["first_says"] == outcomes["second"]["first_says"] == "0 of 2"


@pytest.mark.slow
def test_processes_of_torchrun_train_as_those_of_a_run(outcomes, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, str(SCRIPT), str(tmp_path)], env=environment, check=True, capture_output=True)
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank} of 2", weights_only=True)
        assert largest_difference(found, outcomes["first"]["trained"]) == 0


def test_a_process_is_alone_unless_it_joined_others():
    assert present_ranks() is ALONE
    assert present_ranks().is_first


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 2, 5, 21])
def test_parts_of_all_ranks_are_everything_in_order(count, items):
    parts = [Ranks(rank, count).own_part(range(items)) for rank in range(count)]
    assert [item for part in parts for item in part] == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
