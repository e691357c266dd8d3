"""The names of a store's files, and the errors that name them."""

import uuid
from typing import Any

import pytest

from ticketdiet.core.addresses import address_of
from ticketdiet.core.errors import UserError
from ticketdiet.store.layout import (
    ADDRESS,
    LEASE,
    LEFTOVER,
    checked_stem,
    damaged,
    lacks,
    partial_path,
    require_identity,
    result_path,
)

IDENTITY: dict[str, Any] = {"kind": "level", "version": 1, "spec": {"lr": 0.1}, "inputs": {}}
FOUND = address_of(**IDENTITY)


def test_a_result_lies_in_the_folder_of_its_first_two_digits():
    assert result_path("ab" + "0" * 22) == "results/ab/ab" + "0" * 22
    assert partial_path("ab" + "0" * 22) == f"partial/ab{'0' * 22}.safetensors"


@pytest.mark.parametrize("address", ["", "../x", FOUND[:-1], FOUND.upper() + "G", FOUND + "/"])
def test_what_is_not_an_address_gets_no_path(address):
    assert not ADDRESS.fullmatch(address)
    with pytest.raises(UserError, match="is not an address"):
        partial_path(address)


def test_an_address_has_to_be_the_hash_of_its_result():
    require_identity(FOUND, **IDENTITY)
    with pytest.raises(UserError, match=f"cannot be stored at {FOUND}"):
        require_identity(FOUND, **IDENTITY | {"version": 2})


def test_leases_and_leftovers_are_told_from_foreign_files():
    found = LEASE.fullmatch(f"{FOUND}.12")
    assert found is not None
    assert found[2] == "12"
    assert LEASE.fullmatch("gc.0")
    assert LEFTOVER.fullmatch(f"{FOUND}.{uuid.uuid4().hex}")
    for foreign in ("notes.txt", f"{FOUND}.safetensors", FOUND):
        assert not LEASE.fullmatch(foreign)
        assert not LEFTOVER.fullmatch(foreign)


@pytest.mark.parametrize("stem", ["manifest", "a/b", "", "a.b"])
def test_a_stem_that_cannot_name_a_file_is_a_fault_of_the_program(stem):
    with pytest.raises(AssertionError):
        checked_stem(stem)


def test_errors_name_the_result_and_what_it_has():
    assert f"The result {FOUND} in /store is damaged: it is cut." in str(damaged(FOUND, "it is cut", "/store"))
    assert "has no file x.json." in str(lacks(FOUND, "file x.json", ["b", "a"]))
    assert "one of: a, b" in str(lacks(FOUND, "file x.json", ["b", "a"]))
