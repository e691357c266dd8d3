"""Copies on this machine: believed only by their checksum, bounded in size, and never in the way."""

import hashlib
import os

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.store.nearby import SMALL, Nearby


def name_of(data):
    return hashlib.sha256(data).hexdigest()


def put(nearby, *contents):
    for data in contents:
        nearby.put(data)


def files(folder):
    return {path.name for path in folder.glob("*/*")}


def test_what_was_put_is_there_for_the_next_process(tmp_path):
    small, large = b"small", bytes(SMALL + 1)
    put(Nearby(tmp_path, 10 * SMALL), small, large)
    again = Nearby(tmp_path, 10 * SMALL)
    assert (again.get(name_of(small)), again.get(name_of(large))) == (small, large)
    assert again.get("0" * 64) is None


def test_a_copy_that_was_changed_is_not_returned_and_is_replaced(tmp_path):
    put(Nearby(tmp_path, 1000), b"right")
    path = next(tmp_path.glob("*/*"))
    path.write_bytes(b"wrong")
    nearby = Nearby(tmp_path, 1000)
    assert nearby.get(name_of(b"right")) is None
    put(nearby, b"right")
    assert Nearby(tmp_path, 1000).get(name_of(b"right")) == b"right"


def test_what_was_not_used_for_longest_goes_when_there_is_too_much(tmp_path):
    contents = [bytes([number]) * 100 for number in range(10)]
    put(Nearby(tmp_path, 10_000), *contents)
    for age, data in enumerate(contents):
        os.utime(tmp_path / name_of(data)[:2] / name_of(data), (1000 + age, 1000 + age))
    small = Nearby(tmp_path, 1000)
    assert small.get(name_of(contents[0])) == contents[0]  # used now, so it stays
    put(small, b"new" * 30)
    left = files(tmp_path)
    assert {name_of(contents[0]), name_of(contents[9])} <= left
    assert name_of(contents[1]) not in left
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 1000


def test_a_content_that_would_fill_a_quarter_is_not_kept(tmp_path):
    put(Nearby(tmp_path, 1000), bytes(251))
    assert files(tmp_path) == set()


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    nearby = Nearby(tmp_path, 1000)
    put(nearby, b"data")
    assert nearby.get(name_of(b"data")) == b"data"  # from memory
    assert files(tmp_path) == set()


def test_a_version_is_that_of_its_store_alone(tmp_path):
    version = name_of(b"version")
    one, other = (Nearby(tmp_path, 1000, store) for store in ("s3://one", "s3://other"))
    one.put_version(version, b"content")
    assert other.get_version(version) is None
    assert Nearby(tmp_path, 1000, "s3://one").get_version(version) == b"content"
    one.drop_version(version)
    assert Nearby(tmp_path, 1000, "s3://one").get_version(version) is None


def test_without_a_folder_only_small_contents_are_kept(tmp_path):
    nearby = Nearby(None)
    put(nearby, b"small", bytes(SMALL + 1))
    assert nearby.get(name_of(b"small")) == b"small"
    assert nearby.get(name_of(bytes(SMALL + 1))) is None


def test_the_size_is_that_of_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path))
    monkeypatch.setenv("TICKETDIET_STORE_CACHE_GB", "0.000001")
    put(Nearby.of_user("s3://bucket"), bytes(250), bytes(251))
    assert files(tmp_path / "results") == {name_of(bytes(250))}


@pytest.mark.parametrize("given", ["-1", "nan", "inf", "many"])
def test_a_size_that_is_no_number_is_the_users_mistake(given, monkeypatch):
    monkeypatch.setenv("TICKETDIET_STORE_CACHE_GB", given)
    with pytest.raises(UserError, match=r"TICKETDIET_STORE_CACHE_GB(.|\n)*unset it"):
        Nearby.of_user("s3://bucket")
