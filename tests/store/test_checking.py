"""The state of a result, from its manifest and the sizes, times and checksums of its files."""

import os
from typing import Any

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import DamagedResult, UserError
from ticketdiet.store.checking import Checker
from ticketdiet.store.folder import Folder
from ticketdiet.store.results import ResultStore

IDENTITY: dict[str, Any] = {"kind": "level", "version": 1, "spec": {}, "inputs": {}}
ADDRESS = address_of(**IDENTITY)


@pytest.fixture
def path(tmp_path):
    """The file ``rows.json`` of the only result in a store."""
    ResultStore.open(tmp_path).write(ADDRESS, **IDENTITY, documents={"rows": [1]})
    return tmp_path / "results" / ADDRESS[:2] / ADDRESS / "rows.json"


@pytest.fixture
def checker(path):
    return Checker(Folder(path.parents[3]))


def test_a_whole_result_is_done_and_read(checker):
    assert (checker.check(ADDRESS).state, checker.inspect(ADDRESS).state) == ("done", "done")
    assert checker.read(ADDRESS, "rows.json") == b"[\n 1\n]"
    assert checker.manifest(ADDRESS).kind == "level"


def test_a_result_that_is_not_there_is_missing(checker):
    assert checker.check("0" * 24).state == checker.inspect("0" * 24).state == "missing"
    with pytest.raises(DamagedResult, match="is not there"):
        checker.manifest("0" * 24)


def test_a_changed_file_of_the_same_size_is_found_by_its_times(checker, path):
    path.write_bytes(b"[\n 2\n]")
    assert checker.check(ADDRESS).reason == "rows.json does not match its checksum"
    with pytest.raises(DamagedResult, match="does not match its checksum"):
        checker.read(ADDRESS, "rows.json")


def test_a_file_of_another_size_is_named_with_both_sizes(checker, path):
    path.write_bytes(b"[]")
    assert checker.check(ADDRESS).reason == "rows.json has 2 bytes instead of 6"


def test_a_copied_file_is_hashed_once(checker, path, monkeypatch):
    hashed = []
    honest = Folder.digest
    monkeypatch.setattr(Folder, "digest", lambda place, name: hashed.append(name) or honest(place, name))
    os.utime(path, (1, 1))
    assert [checker.check(ADDRESS).state for _ in range(3)] == ["done"] * 3
    assert len(hashed) == 1


def test_a_file_that_the_result_does_not_have_is_the_callers_mistake(checker):
    with pytest.raises(UserError, match=r"has no file x\.json(.|\n)*one of: rows\.json"):
        checker.read(ADDRESS, "x.json")
