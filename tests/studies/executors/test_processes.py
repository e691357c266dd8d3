"""A pool of processes: one that is killed costs time, and nothing else."""

import os
import signal
from typing import cast

import pytest

from ticketdiet.core.errors import StagesFailed
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.base import WorkerLost
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.processes import Processes
from ticketdiet.studies.run import RunObserver, run_plan
from ticketdiet.studies.stage import Stage


class Killer(RunObserver):
    """Kills a process of the pool when the first stage is finished."""

    def __init__(self, executor):
        self.executor, self.killed = executor, 0

    def finished(self, stage, warnings):
        if not self.killed:
            self.killed = next(iter(self.executor._pool._processes))
            os.kill(self.killed, signal.SIGKILL)


def test_a_run_goes_on_when_a_process_is_killed_and_gives_the_same_bits(plan_tiny, run_tiny, tmp_path):
    plan = plan_tiny("replicates=2")
    expected, found = ResultStore.open(tmp_path / "expected"), ResultStore.open(tmp_path / "found")
    run_tiny(plan, expected)
    killer = Killer(Processes([WorkerOrder(found.url)] * 2))
    run_tiny(plan, found, executor=killer.executor, observer=killer)
    assert killer.killed
    for address in plan.stages:
        assert found.document(address, "rows") == expected.document(address, "rows")


class Deadly:
    """A stage that ends the process which reads it."""

    label, address = "level", "0" * 24

    def __reduce__(self):
        return os._exit, (1,)


def test_a_stage_whose_process_dies_each_time_is_lost_after_three_tries(tmp_path):
    executor = Processes([WorkerOrder(ResultStore.open(tmp_path / "store").url)])
    try:
        error = executor.submit(cast(Stage, Deadly())).exception(timeout=200)
    finally:
        executor.close()
    assert isinstance(error, WorkerLost)
    assert "3 times" in str(error)
    assert "fewer --workers" in str(error)


NETS = """
from torch import nn

class OwnError(Exception):
    def __init__(self, name, *, layer):
        super().__init__(f"{name} in {layer}")

class Net(nn.Sequential):
    def forward(self, inputs):
        if self.training:
            raise OwnError("no number", layer="the first layer")
        return super().forward(inputs)

def make(num_classes, in_channels, image_size):
    return Net(nn.Flatten(), nn.Linear(64, num_classes))
"""


def test_an_error_that_no_other_process_can_read_is_told_and_its_process_goes_on(importable, plan_tiny, store):
    importable("my_failing_nets", NETS)
    plan = plan_tiny("model={name: my_failing_nets:make}", "arms={none@0: {}}", "scores={}", "replicates=2")
    with pytest.raises(StagesFailed, match=r"OwnError: no number in the first layer(.|\n)*my_failing_nets\.py"):
        run_plan(plan, store, workers=2, threads=1)
