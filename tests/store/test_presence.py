"""The document of a driver, and what it says about the process."""

import dataclasses
import json
import os

import pytest

from ticketdiet.store.presence import Presence, parse_presence

NAME, ADDRESS = "0" * 32, "a" * 24


@pytest.fixture
def mine():
    return Presence.of_this_process(NAME, 12.5, (ADDRESS,))


def test_a_document_comes_back_as_it_was_written(mine):
    assert parse_presence(mine.to_bytes(), NAME) == mine


def test_this_process_runs_and_one_with_its_number_from_before_does_not(mine):
    assert (mine.is_here(), mine.is_dead()) == (True, False)
    earlier = dataclasses.replace(mine, began=mine.began + 1)
    assert (earlier.is_here(), earlier.is_dead()) == (False, True)


def test_nothing_is_known_about_a_process_of_another_machine(mine):
    elsewhere = dataclasses.replace(mine, machine="elsewhere")
    assert (elsewhere.is_here(), elsewhere.is_dead()) == (False, False)


def test_what_is_no_address_is_dropped_and_a_host_is_made_printable(mine):
    body = json.loads(mine.to_bytes()) | {"reaches": [ADDRESS, "../x"], "host": "a\x1b[31mb" + "c" * 100}
    found = parse_presence(json.dumps(body).encode(), NAME)
    assert found.reaches == (ADDRESS,)
    assert (found.host[:6], len(found.host)) == ("a[31mb", 64)
    assert found.label == f"process {os.getpid()} on {found.host}"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"reaches": 3}', b"[" * 100_000, b"\xff"])
def test_what_is_no_document_is_none(data):
    assert parse_presence(data, NAME) is None
