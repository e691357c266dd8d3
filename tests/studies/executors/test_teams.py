"""Stages that several processes work together: rounding apart, they give what one process gives, faults included."""

import signal

import pytest
import torch

from ticketdiet.core.errors import DeviceError, UserError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors import team as team_module
from ticketdiet.studies.executors.base import ExecutorKind, RunRequest, WorkerLost
from ticketdiet.studies.executors.local import Local
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.sent_errors import WorkFailed
from ticketdiet.studies.executors.team import Team, teams_of
from ticketdiet.studies.run import run_plan

# The second of two processes does as the files beside this module say.
NETS = """
import os, signal
from pathlib import Path
from torch import nn
from ticketdiet.training.distributed import present_ranks

class Net(nn.Sequential):
    steps = 0

    def forward(self, inputs):
        if self.training and present_ranks().rank == 1:
            Net.steps += 1
            here = Path(__file__).parent
            if Net.steps == 5 and (here / "kill_once").exists():
                (here / "kill_once").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if (here / "end").exists():
                os._exit(3)
            if (here / "fail").exists():
                raise RuntimeError("only the second process fails")
        return super().forward(inputs)

def make(num_classes, in_channels, image_size):
    return Net(
        nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, num_classes)
    )
"""
SETTINGS = ("model={name: my_faulty_nets:make}", "arms={none@0: {}}", "scores={}", "pruning.levels=1")


@pytest.fixture(scope="module")
def folder(importable):
    """A folder with the module, which processes that are started import too."""
    return importable("my_faulty_nets", NETS)


@pytest.fixture(scope="module")
def plan(folder, plan_tiny):
    return plan_tiny(*SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory):
    """What a team of two gives when nothing happens."""
    store = ResultStore.open(tmp_path_factory.mktemp("team") / "store")
    run_plan(plan, store, devices=("cpu",), devices_per_stage=2, threads=1, workers=1)
    return store


def order(store):
    return WorkerOrder(store.url, ("cpu", "cpu"), save_every_seconds=0.0)


def test_a_study_by_two_devices_a_stage_is_that_of_one_to_rounding(plan, undisturbed, run_tiny, tmp_path):
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    for address in plan.stages:
        rows, others = (store.document(address, "rows") for store in (alone, undisturbed))
        assert [{**row, "value": 0} for row in rows] == [{**row, "value": 0} for row in others]
        assert [row["value"] for row in rows] == pytest.approx([row["value"] for row in others], abs=1e-4)
    address = next(stage.address for stage in plan.stages.values() if stage.kind == "level")
    masks = [store.tensors(address, "mask") for store in (alone, undisturbed)]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_the_manifest_says_how_many_devices_there_were(plan, undisturbed):
    machines = [undisturbed.manifest(address).provenance["machine"] for address in plan.stages]
    assert {machine["devices"] for machine in machines} == {2}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_costs_time_and_no_bit(plan, undisturbed, folder, store, contents):
    told, team = [], Team(order(store))
    (folder / "kill_once").touch()
    try:
        for stage in plan.stages.values():
            team.perform(stage, lambda address, step: told.append(address))
    finally:
        team.end()
    assert not (folder / "kill_once").exists()
    assert contents(store, plan) == contents(undisturbed, plan)
    assert set(told) <= set(plan.stages)


@pytest.mark.slow
def test_a_process_that_fails_alone_or_ends_does_not_leave_the_others_waiting(plan, folder, store, monkeypatch):
    monkeypatch.setattr(team_module, "MOST_TRIES", 1)
    monkeypatch.setattr(team_module, "SECONDS_TO_AGREE", 0.5)
    stage = next(stage for stage in plan.stages.values() if stage.kind == "level")
    before = [stage for stage in plan.stages.values() if stage.kind == "pretrain"]
    run = Team(order(store))
    try:
        run.perform(before[0], print)
        (folder / "fail").touch()
        with pytest.raises(WorkFailed, match=r"RuntimeError: only the second process fails(.|\n)*my_faulty_nets.py"):
            run.perform(stage, print)
        (folder / "fail").rename(folder / "end")
        with pytest.raises(WorkerLost, match="rank 1 on cpu ended with exit code 3") as caught:
            run.perform(stage, print)
    finally:
        (folder / "end").unlink(missing_ok=True)
        run.end()
    assert "level · none@0" in caught.value.came
    assert not store.has(stage.address)


def test_a_team_that_was_stopped_between_two_tries_starts_no_process(plan, store):
    run = Team(order(store))
    run.stop()
    try:
        with pytest.raises(WorkerLost, match="the run ended"):
            run.perform(next(iter(plan.stages.values())), print)
    finally:
        run.end()


def test_devices_are_shared_out_among_teams_in_their_order():
    four = ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert teams_of(four, 2) == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    assert teams_of(four, 2, teams=1) == [("cuda:0", "cuda:1")]
    assert teams_of(four, 3) == [("cuda:0", "cuda:1", "cuda:2")]
    assert teams_of(four[:1], 2) == []
    assert teams_of(["cpu"], 3, teams=2) == [("cpu",) * 3] * 2


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"devices_per_stage": 3}, r"Got 3 devices per stage, and 2 device\(s\): cuda:0, cuda:1"),
        ({"devices_per_stage": 2, "workers": 2}, r"Got 2 devices per stage and 2 workers, and 2 device\(s\)"),
    ],
)
def test_too_few_devices_are_refused_before_anything_is_written(plan, store, monkeypatch, asked, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=says):
        Local().check(RunRequest(store=store, plan=plan, **asked))


def test_several_devices_for_a_stage_and_several_stages_on_a_device_exclude_each_other(plan, store):
    with pytest.raises(UserError, match="Got 2 devices per stage and 3 workers per device"):
        Local().check(RunRequest(store=store, plan=plan, devices_per_stage=2, workers_per_device=3))


def test_several_devices_need_a_store_that_processes_can_share(plan):
    store = ResultStore.open("memory://teams")
    with pytest.raises(UserError, match="Got 2 devices per stage on the store memory://"):
        run_plan(plan, store, devices_per_stage=2)


class Elsewhere(ExecutorKind):
    """An executor of another package, which must not be started."""

    def start(self, request):
        raise AssertionError("the batches were not looked at")


@pytest.mark.parametrize(
    ("executor", "asked"),
    [
        (None, {"devices_per_stage": 3}),
        (Local({"devices_per_stage": 3, "device": "cpu"}), {"devices": ("auto",)}),
        (Elsewhere(), {"devices_per_stage": 3}),
    ],
)
def test_batches_that_the_devices_cannot_share_are_refused_before_anything_is_written(plan, store, executor, asked):
    with pytest.raises(UserError, match=r"3 devices per stage and batches of 16(.|\n)*another batch_size"):
        run_plan(plan, store, executor=executor, **asked)
    assert store.addresses() == []
