"""What workers are told crosses every border unchanged, and gives the place where stages are worked."""

import json
from dataclasses import replace

import pytest
import torch

from ticketdiet.core.errors import DeviceError, NoStore, UserError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.energy import Sharing
from ticketdiet.studies.executors.orders import StageOrder, WorkerOrder

ORDER = WorkerOrder("s3://bucket/runs", ("cuda:0", "cuda:1"), 3, 12.5, Sharing(4, 2))


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_an_order_is_the_same_after_it_was_sent_as_json():
    text = ORDER.to_text()
    assert WorkerOrder.of_text(text) == ORDER
    assert json.loads(text) == {
        "store_url": "s3://bucket/runs",
        "devices": ["cuda:0", "cuda:1"],
        "threads": 3,
        "save_every_seconds": 12.5,
        "sharing": {"workers": 4, "on_device": 2},
    }


def test_the_order_of_stages_is_the_same_after_it_was_sent_as_json(every_kind):
    order = StageOrder.of_stages(list(every_kind.stages.values()), ORDER)
    again = StageOrder.of_text(order.to_text())
    assert (again.code, again.worker) == (order.code, ORDER)
    assert [data["address"] for data in again.stages] == list(every_kind.stages)


def test_an_order_of_other_code_is_refused_before_its_other_fields_are_read(every_kind):
    order = StageOrder.of_stages([], ORDER)
    body = json.loads(replace(order, code="9.9.9 (0123456789ab)").to_text()) | {"worker": "another form"}
    with pytest.raises(UserError, match=r"the run has 9\.9\.9"):
        StageOrder.of_text(json.dumps(body))


def test_a_worker_begins_as_it_was_told(store, every_kind):
    told = []
    order = replace(ORDER, store_url=store.url, devices=("cpu", "cpu"), threads=2)
    context = order.begin(1, report=lambda stage, step: told.append(step))
    assert torch.get_num_threads() == 2
    assert (str(context.device), context.partners, context.sharing) == ("cpu", ("cpu",), Sharing(4, 2))
    assert context.store.url == store.url
    context.report(next(iter(every_kind.stages.values())), 7)
    assert told == [7]


def test_a_store_that_is_open_already_is_used(store):
    memory = ResultStore.open("memory://orders")
    assert WorkerOrder(store.url).begin(store=memory).store is memory


def test_a_worker_makes_no_store_where_there_is_none_and_takes_no_device_that_is_not_here(tmp_path, store, monkeypatch):
    with pytest.raises(NoStore, match="nowhere"):
        WorkerOrder(str(tmp_path / "nowhere")).begin()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no CUDA device"):
        WorkerOrder(store.url, ("cuda:0",)).begin()
