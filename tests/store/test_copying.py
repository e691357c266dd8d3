"""Copying results: whole, verified, once, and again after an interruption."""

import uuid
from typing import Any

import pytest
import torch

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult, StoreError, UserError
from ticketdiet.store.copying import copy_results
from ticketdiet.store.results import ResultStore


def identity(number) -> dict[str, Any]:
    return {"kind": "level", "version": 1, "spec": {"number": number}, "inputs": {}}


ADDRESSES = [address_of(**identity(number)) for number in range(5)]


def weights(number):
    return {"weight": torch.arange(10.0) + number}


@pytest.fixture
def source(tmp_path):
    store = ResultStore.open(tmp_path / "source")
    for number, address in enumerate(ADDRESSES):
        tensors, rows = {"weights": weights(number)}, {"rows": [number]}
        store.write(address, **identity(number), tensors=tensors, documents=rows, provenance={"seconds": number})
    return store


@pytest.fixture(params=["folder", "memory", "s3"])
def target(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3")
    urls = {"folder": tmp_path / "target", "memory": f"memory://{uuid.uuid4().hex}", "s3": "s3://bucket/target"}
    return ResultStore.open(urls[request.param])


def same(store, other):
    for number, address in enumerate(ADDRESSES):
        assert torch.equal(other.tensors(address, "weights")["weight"], weights(number)["weight"])
        assert other.document(address, "rows") == store.document(address, "rows")
        assert other.manifest(address).provenance == {"seconds": number}
        assert other.manifest(address).spec == {"number": number}


def test_everything_goes_to_another_store_and_back(source, target, tmp_path):
    told: list[tuple[int, int]] = []
    copied = copy_results(source, target, told=lambda *numbers: told.append(numbers))
    assert {*copied.results} == {*ADDRESSES}
    assert (copied.there, copied.missing, copied.damaged) == (0, 0, ())
    assert copied.bytes == sum(source.manifest(address).size for address in ADDRESSES)
    assert told == [(number, 5) for number in range(1, 6)]
    assert target.verify() == []
    same(source, target)
    back = ResultStore.open(tmp_path / "back")
    copy_results(target, back)
    assert back.verify() == []
    same(source, back)


def test_a_copy_that_was_interrupted_goes_on_where_it_stopped(source, target):
    class Interrupts(Exception):
        pass

    def interrupt(done, total):
        if done == 2:
            raise Interrupts

    with pytest.raises(Interrupts):
        copy_results(source, target, told=interrupt)
    assert target.verify() == []
    there = len(target.addresses())
    assert there >= 2
    copied = copy_results(source, target)
    assert (len(copied.results), copied.there) == (5 - there, there)
    assert copy_results(source, target).results == ()
    same(source, target)


def test_only_what_is_named_is_copied_and_what_is_missing_is_counted(source, target):
    copied = copy_results(source, target, [ADDRESSES[0], "0" * 24])
    assert (copied.results, copied.missing) == ((ADDRESSES[0],), 1)
    assert target.addresses() == [ADDRESSES[0]]


def test_what_is_damaged_at_the_source_is_named_and_left_out(source, target, tmp_path):
    folder = tmp_path / "source" / "results" / ADDRESSES[1][:2] / ADDRESSES[1]
    (folder / "rows.json").write_bytes(b"[7]")
    copied = copy_results(source, target)
    assert [problem.address for problem in copied.damaged] == [ADDRESSES[1]]
    assert "rows.json" in copied.damaged[0].reason
    assert ADDRESSES[1] not in target.addresses()
    assert len(copied.results) == 4


def test_what_is_damaged_at_the_destination_is_copied_again(source, tmp_path):
    target = ResultStore.open(tmp_path / "target")
    copy_results(source, target)
    (tmp_path / "target" / "results" / ADDRESSES[1][:2] / ADDRESSES[1] / "rows.json").write_bytes(b"[7]")
    assert copy_results(source, target).results == (ADDRESSES[1],)
    assert target.verify() == []


def test_a_copy_that_is_not_what_was_written_ends_with_an_error(source, target, monkeypatch):
    digest = type(target._place).digest
    monkeypatch.setattr(
        target._place, "digest", lambda path: "0" * 64 if "rows" in path else digest(target._place, path)
    )
    with pytest.raises(DamagedResult, match=r"rows.json does not match its checksum(.|\n)*copy again"):
        copy_results(source, target)


def test_a_full_disk_at_the_destination_leaves_what_was_copied(source, tmp_path, monkeypatch):
    target = ResultStore.open(tmp_path / "target")
    publish, done = type(target._place).publish, []

    def full(directory, files, seal):
        if len(done) == 3:
            raise OSError(28, "No space left on device")
        done.append(directory)
        return publish(target._place, directory, files, seal)

    monkeypatch.setattr(target._place, "publish", full)
    with pytest.raises(StoreError, match="The disk is full"):
        copy_results(source, target)
    assert len(target.addresses()) == 3
    assert target.verify() == []


def test_a_store_is_not_copied_to_itself(source):
    with pytest.raises(UserError, match="twice"):
        copy_results(source, ResultStore.open(source.url))
