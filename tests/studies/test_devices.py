import pytest
import torch

from ticketdiet.core.errors import DeviceError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.devices import choose_device, choose_devices
from ticketdiet.studies.executors import local
from ticketdiet.studies.executors.base import RunRequest
from ticketdiet.studies.executors.local import Local, default_workers


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_all_means_every_gpu_and_names_keep_their_order(three_gpus):
    assert choose_devices("all") == ("cuda:0", "cuda:1", "cuda:2")
    assert choose_devices(["cuda:2", "cpu", "all"]) == ("cuda:2", "cpu", "cuda:0", "cuda:1", "cuda:2")
    assert choose_devices("auto") == ("cuda",)


def test_a_gpu_that_is_not_here_is_refused_with_those_that_are(three_gpus):
    with pytest.raises(DeviceError, match=r"sees 3 CUDA device(.|\n)*cuda:0 to cuda:2(.|\n)*--device all"):
        choose_device("cuda:3")


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:", "cudax", ""])
def test_a_name_that_is_no_device_is_refused(three_gpus, name):
    with pytest.raises(DeviceError, match="unknown device"):
        choose_device(name)


@pytest.mark.parametrize("name", ["all", "cuda", "cuda:0"])
def test_without_a_gpu_all_is_refused_and_auto_is_the_cpu(no_gpu, name):
    with pytest.raises(DeviceError, match="sees no CUDA device"):
        choose_devices(name)
    assert choose_devices("auto") == ("cpu",)


def test_one_process_works_on_each_gpu_or_as_many_as_asked_for(plan_tiny):
    plan = plan_tiny()
    assert default_workers(plan, ["cuda:0", "cuda:1"]) == 2
    assert default_workers(plan, ["cuda:0", "cuda:1"], per_device=3) == 6
    assert default_workers(plan, ["cpu"], per_device=4) == 4


@pytest.fixture
def started(monkeypatch):
    """Notes how pools of processes are started, and starts none."""
    calls = []
    monkeypatch.setattr(local, "Processes", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(local, "cpu_count", lambda: 12)
    return calls


def test_gpus_and_cores_are_shared_out(three_gpus, started, plan_tiny, tmp_path):
    store = ResultStore.open(tmp_path / "store")
    request = RunRequest(store=store, plan=plan_tiny(), devices=("all",), workers_per_device=2)
    Local().start(request)
    assert started == [(store.url, ("cuda:0", "cuda:1", "cuda:2"), 6, 2, 30.0)]


def test_options_of_the_machine_file_hold_where_the_command_says_nothing(three_gpus, started, plan_tiny, tmp_path):
    store = ResultStore.open(tmp_path / "store")
    kind = Local({"device": "all", "workers": 3, "threads": 1})
    kind.start(RunRequest(store=store, plan=plan_tiny()))
    kind.start(RunRequest(store=store, plan=plan_tiny(), devices=("cuda:1",), workers=2, threads=4))
    assert [call[1:4] for call in started] == [(("cuda:0", "cuda:1", "cuda:2"), 3, 1), (("cuda:1",), 2, 4)]
