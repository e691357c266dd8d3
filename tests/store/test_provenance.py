"""What a manifest records beside the numbers."""

import json
from datetime import UTC, datetime, timedelta
from importlib import metadata

import torch

from ticketdiet.store.provenance import describe_machine, describe_run


def test_versions_machine_and_times_are_plain_json():
    described = describe_run(datetime.now(UTC) - timedelta(seconds=2), threads=1)
    assert json.loads(json.dumps(described)) == described
    assert described["versions"]["torch"] == metadata.version("torch")
    assert described["machine"]["threads"] == 1
    assert described["seconds"] >= 2


def test_what_decides_the_last_bits_is_recorded():
    machine = describe_run(datetime.now(UTC))["machine"]
    assert machine["capability"] == torch.backends.cpu.get_cpu_capability()
    assert machine["threads"] == torch.get_num_threads()
    assert machine["bfloat16"] in (True, False, None)
    assert machine["cpu"]
    assert machine["device"] == "cpu"


def test_a_limit_on_the_instructions_is_recorded_where_there_is_one(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert "onednn_limit" not in describe_machine()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert describe_machine()["onednn_limit"] == "AVX2"
