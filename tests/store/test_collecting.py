"""Collecting garbage: what nothing needs is removed, and everything else stays."""

import os
import uuid

import pytest
import torch

from ticketdiet.core.addresses import address_of
from ticketdiet.store.results import ResultStore


def identity(number):
    return {"kind": "level", "version": 1, "spec": {"number": number}, "inputs": {}}


IDENTITIES = {address_of(**identity(number)): identity(number) for number in range(3)}
ADDRESS, OTHER, THIRD = sorted(IDENTITIES)


@pytest.fixture
def store(tmp_path):
    store = ResultStore.open(tmp_path / "store")
    put(store, ADDRESS)
    put(store, OTHER)
    return store


def put(store, address):
    store.write(address, **IDENTITIES[address], tensors={"weights": {"w": torch.ones(50)}}, documents={"metrics": {}})


def path_of(store, name, address=ADDRESS):
    return os.path.join(store.url, "results", address[:2], address, name)


class TestCollecting:
    def test_a_dry_run_says_what_would_go_and_removes_nothing(self, store):
        found = store.collect({ADDRESS})
        assert found.addresses == (OTHER,)
        assert found.bytes == sum(
            entry.stat().st_size for entry in os.scandir(os.path.dirname(path_of(store, "", OTHER)))
        )
        assert store.has(OTHER)

    def test_what_nothing_keeps_goes_and_the_rest_stays(self, store):
        store.collect({ADDRESS}, dry_run=False)
        assert store.addresses() == [ADDRESS]
        assert store.has(ADDRESS)

    def test_old_leftovers_go_and_young_ones_stay(self, store):
        leftover = os.path.join(store.url, "tmp", f"{ADDRESS}.{uuid.uuid4().hex}")
        os.mkdir(leftover)
        store.save_partial("a" * 24, {}, {})
        store.save_partial("b" * 24, {}, {})
        keep = {ADDRESS, OTHER, "a" * 24}
        assert store.collect(keep, dry_run=False).leftovers == ()
        os.utime(leftover, (0, 0))
        for name in ("a", "b"):
            os.utime(f"{store.url}/partial/{name * 24}.safetensors", (0, 0))
        gone = store.collect(keep, dry_run=False).leftovers
        assert gone == (f"tmp/{os.path.basename(leftover)}", f"partial/{'b' * 24}.safetensors")
        assert store.load_partial("a" * 24) is not None

    def test_damaged_results_that_were_set_aside_go(self, store):
        store.discard(ADDRESS)
        assert len(os.listdir(f"{store.url}/damaged")) == 1
        store.collect({OTHER}, dry_run=False)
        assert os.listdir(f"{store.url}/damaged") == []

    def test_an_object_store_is_collected_too(self):
        store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
        put(store, ADDRESS)
        put(store, OTHER)
        assert store.collect({OTHER}, dry_run=False).addresses == (ADDRESS,)
        assert store.addresses() == [OTHER]
