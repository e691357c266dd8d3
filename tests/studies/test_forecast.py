"""A run is forecast as it will be worked: with what it asks for, and with the options of its executor for the rest."""

import pytest
import torch

from ticketdiet.core.errors import DeviceError
from ticketdiet.studies import forecast as module
from ticketdiet.studies.executors.base import RunOptions
from ticketdiet.studies.executors.local import Local
from ticketdiet.studies.executors.slurm import Slurm
from ticketdiet.studies.forecast import forecaster, say_nothing
from ticketdiet.studies.time_left import TimeLeft


@pytest.fixture
def measured(monkeypatch):
    """What the time and the precision were measured with."""
    times, precisions = [], []
    monkeypatch.setattr(
        module, "time_left", lambda plan, left, **options: times.append(options) or TimeLeft(3600, 10, 2, False)
    )
    monkeypatch.setattr(
        module, "precision_advice", lambda plan, left, **options: precisions.append(options) or "It could be faster."
    )
    return times, precisions


@pytest.mark.parametrize(
    ("options", "asked", "expected"),
    [
        ({"workers": 3, "threads": 2, "device": "cpu"}, {}, {"device": "cpu", "workers": 3, "threads": 2}),
        ({"workers": 3, "threads": 2}, {"workers": 1, "threads": 5}, {"device": "cpu", "workers": 1, "threads": 5}),
        ({"workers_per_device": 4}, {}, {"device": "cpu", "workers": 4, "threads": None}),
        ({}, {"workers_per_device": 6}, {"device": "cpu", "workers": 6, "threads": None}),
    ],
)
def test_what_a_named_executor_says_holds_where_the_run_asks_for_nothing(
    plan_tiny, measured, monkeypatch, options, asked, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = plan_tiny()
    said = forecaster(Local(options), RunOptions(**asked))(plan, list(plan.stages))
    assert said == "This takes about 1 h here, with 2 processes at 10 images per second each.\nIt could be faster."
    assert measured == ([expected], [expected])


def test_devices_of_a_named_executor_count(plan_tiny, measured, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plan = plan_tiny()
    forecaster(Local({"device": "all"}), RunOptions())(plan, list(plan.stages))
    assert measured[0] == [{"device": "cuda:0", "workers": 2, "threads": None}]
    with pytest.raises(DeviceError, match="cuda:5"):
        forecaster(Local({"device": "cuda:5"}), RunOptions())


@pytest.mark.parametrize(
    ("executor", "asked"),
    [
        (Slurm(), {}),
        (None, {"devices_per_stage": 2}),
        (Local({"devices_per_stage": 2}), {}),
    ],
)
def test_nothing_is_said_of_other_machines_or_of_several_devices_for_a_stage(executor, asked):
    assert forecaster(executor, RunOptions(**asked)) is say_nothing
