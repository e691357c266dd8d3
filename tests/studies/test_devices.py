import pytest
import torch

from ticketdiet.core.errors import DeviceError
from ticketdiet.studies.devices import choose_device, choose_devices
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.executors import local
from ticketdiet.studies.executors.base import RunRequest
from ticketdiet.studies.executors.local import Local, default_workers
from ticketdiet.studies.executors.orders import WorkerOrder


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


@pytest.mark.parametrize(
    ("variable", "threads", "workers"), [(None, None, 8), ("1", None, 8), ("3", None, 4), ("12", None, 1), ("64", 2, 6)]
)
def test_no_more_processes_are_started_by_themselves_than_the_cores_suffice_for(
    monkeypatch, plan_tiny, variable, threads, workers
):
    monkeypatch.setattr(local, "cpu_count", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    plan = plan_tiny("replicates=3", "children=0")
    assert default_workers(plan, ["cpu"], threads=threads) == workers


@pytest.fixture
def started(monkeypatch):
    """Notes how pools of processes are started, and starts none."""
    calls = []
    monkeypatch.setattr(local, "Processes", calls.append)
    monkeypatch.setattr(local, "cpu_count", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return calls


def test_gpus_and_cores_are_shared_out(three_gpus, started, plan_tiny, store):
    request = RunRequest(store=store, plan=plan_tiny(), devices=("all",), workers_per_device=2)
    Local().start(request)
    (orders,) = started
    in_turn = [("cuda:0",), ("cuda:1",), ("cuda:2",)] * 2
    assert orders == [WorkerOrder(store.url, device, 2, 30.0, Sharing(6, 2)) for device in in_turn]


@pytest.mark.parametrize(
    ("devices", "workers", "shared"),
    [
        (("cuda:0", "cuda:1"), 3, [("cuda:0", 2), ("cuda:1", 1), ("cuda:0", 2)]),
        (("cpu",), 4, [("cpu", 4)] * 4),
    ],
)
def test_workers_take_devices_in_turn_and_share_them(three_gpus, started, plan_tiny, store, devices, workers, shared):
    Local().start(RunRequest(store=store, plan=plan_tiny(), devices=devices, workers=workers))
    (orders,) = started
    assert [(order.devices[0], order.sharing.on_device) for order in orders] == shared
    assert {order.sharing.workers for order in orders} == {workers}


@pytest.mark.parametrize(
    ("variable", "option", "asked", "threads"),
    [
        (None, None, None, 4),
        ("3", None, None, 3),
        ("3,2", None, None, 3),
        ("3", 2, None, 2),
        ("3", 2, 1, 1),
        ("3", None, 1, 1),
        ("0", None, None, 4),
        ("many", None, None, 4),
        ("", None, None, 4),
    ],
)
def test_threads_are_those_asked_for_then_of_the_environment_then_a_fraction_of_the_cores(
    started, plan_tiny, store, monkeypatch, variable, option, asked, threads
):
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    kind = Local({} if option is None else {"threads": option})
    kind.start(RunRequest(store=store, plan=plan_tiny(), devices=("cpu",), workers=3, threads=asked))
    assert {order.threads for order in started[0]} == {threads}


def test_the_environment_gives_each_process_of_a_team_its_threads(monkeypatch, plan_tiny, store):
    teams = []
    monkeypatch.setattr(local, "Teams", teams.extend)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    Local().start(RunRequest(store=store, plan=plan_tiny(), devices=("cpu",), devices_per_stage=2))
    assert [(order.devices, order.threads) for order in teams] == [(("cpu", "cpu"), 5)]


def test_options_of_the_machine_file_hold_where_the_command_says_nothing(three_gpus, started, plan_tiny, store):
    kind = Local({"device": "all", "workers": 3, "threads": 1})
    kind.start(RunRequest(store=store, plan=plan_tiny()))
    kind.start(RunRequest(store=store, plan=plan_tiny(), devices=("cuda:1",), workers=2, threads=4))
    assert [[(order.devices, order.threads) for order in orders] for orders in started] == [
        [(("cuda:0",), 1), (("cuda:1",), 1), (("cuda:2",), 1)],
        [(("cuda:1",), 4)] * 2,
    ]
