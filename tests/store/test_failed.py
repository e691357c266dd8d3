"""Failures of stages come back until they are forgotten, or count as absent."""

import uuid

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import UserError
from ticketdiet.store.failed import MOST_CHARACTERS, FailedStage, FailedStages
from ticketdiet.store.opening import open_place
from ticketdiet.store.results import ResultStore


def identity():
    return {"kind": "level", "version": 1, "spec": {"number": 0}, "inputs": {}}


ADDRESS = address_of(**identity())
OTHER = "0" * 24


@pytest.fixture(params=["folder", "memory"])
def place(request, tmp_path):
    place = open_place(tmp_path / "place" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")
    place.prepare()
    return place


def failure(address=ADDRESS, message="The loss was not finite."):
    return FailedStage(address, message, "2026-01-02T03:04:05+00:00")


def test_a_failure_comes_back_until_it_is_forgotten(place):
    failed = FailedStages(place)
    assert failed.read() == {}
    failed.write(failure(message="first"))
    failed.write(failure(message="second"))
    assert failed.read() == {ADDRESS: failure(message="second")}
    failed.remove(ADDRESS)
    failed.remove(ADDRESS)
    assert failed.read() == {}


def test_a_long_message_is_cut(place):
    failed = FailedStages(place)
    failed.write(failure(message="x" * 10**6))
    assert len(failed.read()[ADDRESS].message) == MOST_CHARACTERS


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"[]", b"\xff", b"x" * 10**6])
def test_a_failure_that_cannot_be_read_is_absent(place, data):
    place.replace(f"failed/{ADDRESS}.json", data)
    place.replace("failed/notes.json", b"{}")
    assert FailedStages(place).read() == {}


def test_what_is_no_address_is_refused_before_it_becomes_a_path(place):
    with pytest.raises(UserError, match="not an address"):
        FailedStages(place).remove("../../x")


def test_gc_removes_failures_that_nothing_needs_and_those_of_stages_that_are_there(tmp_path):
    store = ResultStore.open(tmp_path / "store")
    store.failed.write(failure(ADDRESS))
    store.failed.write(failure(OTHER))
    store.collect({ADDRESS}, dry_run=False)
    assert set(store.failed.read()) == {ADDRESS}
    store.write(ADDRESS, **identity(), documents={"rows": []})
    found = store.collect({ADDRESS}, dry_run=False)
    assert found.leftovers == (f"failed/{ADDRESS}.json",)
    assert store.failed.read() == {}
