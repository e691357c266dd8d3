"""Studies on a real Ray of this machine; clusters of several nodes are in ``test_ray_nodes.py``."""

import os
import signal
import socket
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ticketdiet.core.errors import DeviceError, StagesFailed, StoreError, UserError
from ticketdiet.core.options import make
from ticketdiet.data.images import load_images
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors import ray_connection
from ticketdiet.studies.executors.base import EXECUTORS, RunOptions, RunRequest
from ticketdiet.studies.executors.orders import StageOrder, WorkerOrder
from ticketdiet.studies.executors.ray_worker import ship, slots, unship, work
from ticketdiet.studies.run import RunObserver, run_plan

needs_ray = pytest.mark.filterwarnings("default")  # what Ray warns of is its own affair
SETTINGS = ("model={name: my_ray_nets:make}", "arms={none@0: {}}", "pruning.levels=1")
NETS = """
import os, signal
from pathlib import Path
from torch import nn

class Net(nn.Sequential):
    steps = 0

    def forward(self, inputs):
        if self.training:
            Net.steps += 1
            fault = Path(__file__).parent / f"{FAULT}"
            if fault.exists() and Net.steps > 5:
                fault.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if (Path(__file__).parent / "fail").exists():
                raise RuntimeError("the network fell over")
            if (Path(__file__).parent / "kill_always").exists():
                with (Path(__file__).parent / "kill_always").open("a") as deaths:
                    deaths.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)

FAULT = "kill_once"

def make(num_classes, in_channels, image_size):
    return Net(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, num_classes))
"""


@pytest.fixture(scope="module")
def folder(importable):
    """A folder with a network of our own, which workers import too."""
    return importable("my_ray_nets", NETS)


@pytest.fixture(scope="module")
def plan(folder, plan_tiny):
    return plan_tiny(*SETTINGS)


@pytest.fixture(scope="module")
def started(folder):
    """A Ray of this machine, started as the executor starts it, for all tests of this module."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        ray_connection.import_ray()
        ray_connection.connect(ray, "local")
        yield ray
        ray.shutdown()


def kind(**options):
    return make(EXECUTORS, "ray", {"address": "local", **options})


@needs_ray
def test_a_study_on_ray_has_the_bits_of_one_in_this_process_and_opens_no_port_to_others(
    started, plan, store, run_tiny, tmp_path, contents
):
    told, seen = [], []

    class Watch(RunObserver):
        def progressed(self, stage, step):
            told.append((stage.address, step))

        def finished(self, stage, warnings):
            seen.extend(listening())

    run_plan(plan, store, executor=kind(), devices=("auto",), threads=1, observer=Watch())
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    assert contents(store, plan) == contents(alone, plan)
    assert {address for address, _ in told} <= set(plan.stages)
    if sys.platform == "linux":
        assert seen
        assert {address for address in seen if not address.startswith("127.")} == set()


@needs_ray
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_worker_costs_time_and_no_bit(started, plan, folder, store, run_tiny, tmp_path, contents):
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    (folder / "kill_once").touch()
    run_plan(plan, store, executor=kind(), devices=("auto",), threads=1, save_every_seconds=0.0)
    assert not (folder / "kill_once").exists()
    assert contents(store, plan) == contents(alone, plan)


@needs_ray
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_stage_whose_worker_is_killed_each_time_is_tried_again_as_often_as_the_option_says(
    started, plan, folder, store
):
    (folder / "kill_always").touch()
    try:
        with pytest.raises(StagesFailed, match=r"Ray says: WorkerCrashedError(.|\n)*within 1 further try"):
            run_plan(plan, store, executor=kind(retries=1), devices=("auto",), threads=1)
        assert (folder / "kill_always").read_text() == "xx"
    finally:
        (folder / "kill_always").unlink()


@needs_ray
def test_the_log_of_a_failed_stage_is_shown_and_others_are_made(started, plan, folder, store):
    (folder / "fail").touch()
    try:
        with pytest.raises(StagesFailed, match="RuntimeError: the network fell over") as caught:
            run_plan(plan, store, executor=kind(), devices=("auto",), threads=1)
    finally:
        (folder / "fail").unlink()
    assert 'line 17, in forward\n    raise RuntimeError("the network fell over")' in str(caught.value)


@needs_ray
def test_a_worker_with_other_code_is_refused_before_any_work(started, plan, store, monkeypatch):
    monkeypatch.setattr(ray_connection, "code_version", lambda: "9.9.9 (000000000000)")
    with pytest.raises(UserError, match=r"has ticketdiet \d.* and the run has 9\.9\.9 \(000000000000\)"):
        run_plan(plan, store, executor=kind(), devices=("auto",), threads=1)
    assert not any(store.has(address) for address in plan.stages)


@needs_ray
def test_a_stage_that_no_node_can_take_is_refused(started, plan, store):
    with pytest.raises(UserError, match=r"No node of the Ray cluster has 1 CPU\(s\) and 0.5 GPU\(s\)"):
        run_plan(plan, store, executor=kind(gpus_per_stage=0.5), devices=("auto",))


@needs_ray
def test_a_node_that_does_not_see_the_store_is_refused(started, plan, tmp_path):
    elsewhere: Any = SimpleNamespace(url=str(tmp_path / "nowhere"), shared=True)
    with pytest.raises(StoreError, match=r"The node .* does not see the store .*nowhere"):
        kind().start(RunRequest(store=elsewhere, plan=plan))


def listening():
    """Addresses at which this process and those it started, directly or not, wait for connections; on Linux."""
    sockets = {}
    for table, width in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = readable(bytes.fromhex(fields[1][:width]))
    found = set()
    for process in processes():
        try:
            found |= {os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()}
        except OSError:
            continue
    return [sockets[name] for name in found & sockets.keys()]


def readable(raw):
    """The address in /proc/net, words of four bytes in the order of this machine."""
    parts = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    if len(parts) == 4:
        return socket.inet_ntop(socket.AF_INET, parts)
    return socket.inet_ntop(socket.AF_INET6, parts).removeprefix("::ffff:")


def processes():
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    ours = {os.getpid()}
    while grown := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return ours


def test_a_head_node_that_does_not_answer_is_refused_within_seconds(plan, store):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(UserError, match=rf"Nothing answers at 127\.0\.0\.1, port {port}: Connection refused"):
                kind(address=address).check(RunRequest(store=store, plan=plan))


@pytest.mark.parametrize("address", ["http://somewhere:80", "somewhere:port"])
def test_an_address_that_is_none_is_refused(plan, store, address):
    with pytest.raises(UserError, match="of a Ray cluster"):
        kind(address=address).check(RunRequest(store=store, plan=plan))


def test_two_ways_to_say_how_many_stages_share_a_gpu_are_refused(plan, store):
    with pytest.raises(UserError, match=r"2 workers per device, and gpus_per_stage: 0\.5"):
        kind(gpus_per_stage=0.5).check(RunRequest(store=store, plan=plan, devices=("auto",), workers_per_device=2))


@pytest.mark.parametrize(("options", "asked"), [({"gpus_per_stage": 3}, {}), ({}, {"devices_per_stage": 3})])
def test_batches_that_the_devices_of_a_stage_cannot_share_are_refused_before_any_work(plan, store, options, asked):
    with pytest.raises(UserError, match=r"3 devices per stage and batches of 16(.|\n)*gpus_per_stage"):
        run_plan(plan, store, executor=kind(**options), devices=("auto",), **asked)
    assert store.addresses() == []


@pytest.mark.parametrize(
    ("gpus", "asked", "together"),
    [
        (None, {}, 1),
        (0.5, {}, 1),
        (2, {}, 2),
        (4, {"devices_per_stage": 2}, 2),
        (2, {"devices": ("cpu",)}, 1),
        (2, {"devices": ("cpu",), "devices_per_stage": 3}, 3),
    ],
)
def test_whole_gpus_of_a_stage_share_it_unless_the_run_says_otherwise(gpus, asked, together):
    assert kind(gpus_per_stage=gpus).completed(RunOptions(**asked)).devices_per_stage == together


def test_a_store_in_memory_and_devices_by_number_are_refused(plan, store):
    with pytest.raises(UserError, match="Got the executor ray with the store memory://"):
        kind().check(RunRequest(store=ResultStore.open("memory://ray"), plan=plan))
    with pytest.raises(DeviceError, match="cuda:1 with the executor ray"):
        kind().check(RunRequest(store=store, plan=plan, devices=("cuda:1",)))


def test_without_the_extra_its_name_is_said(plan, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'ticketdiet\[ray\]'"):
        kind().check(RunRequest(store=store, plan=plan))


def test_gpus_of_a_stage_are_a_fraction_or_whole():
    with pytest.raises(UserError, match="a fraction below 1, or a whole number"):
        kind(gpus_per_stage=1.5)


def test_room_on_a_node_is_that_of_what_is_scarcest():
    assert slots({"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.25}) == 8
    assert slots({"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.25}) == 4
    assert slots({"CPU": 8.0}, {"CPU": 1.0, "GPU": 0.25}) == 0
    assert slots({"CPU": 0.9}, {"CPU": 0.3, "GPU": 0.0}) == 3


def test_images_come_back_as_they_were_without_a_copy():
    splits = load_images("digits", limit=96, validation=0.25)
    shipped = ship(splits)
    for fields in shipped.values():
        fields["pixels"].setflags(write=False)
    again = unship(shipped, splits.name)
    for (name, images), (other, back) in zip(splits.named().items(), again.named().items(), strict=True):
        assert name == other
        assert back.fingerprint == images.fingerprint
        assert back.pixels.data_ptr() == images.pixels.data_ptr()
        assert (back.class_names, back.mean, back.std) == (images.class_names, images.mean, images.std)
    assert again.name == splits.name


def test_a_worker_refuses_an_order_of_other_code(plan, store):
    stage = next(iter(plan.stages.values()))
    order = replace(StageOrder.of_stages([stage], WorkerOrder(store.url)), code="0.0.1 (abc)")
    ending = work(order.to_text(), None, None)
    assert isinstance(ending, UserError)
    assert "the run has 0.0.1 (abc)" in str(ending)
    assert not store.has(stage.address)
