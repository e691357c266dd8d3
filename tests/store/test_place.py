"""What the store asks of a place holds for a local folder and for an object store alike."""

import re
import uuid

import pytest

from ticketdiet.store.manifest import MANIFEST
from ticketdiet.store.opening import open_place
from ticketdiet.store.place import Misplaced, sha256

FILES = {"rows.json": b"[]", "weights.safetensors": b"abc"}


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3")
    urls = {"folder": tmp_path / "place", "memory": f"memory://{uuid.uuid4().hex}", "s3": "s3://bucket/place"}
    place = open_place(urls[request.param])
    place.prepare()
    return place


def names(place, directory):
    return [entry.name for entry in place.children(directory)]


def test_a_file_is_read_as_it_was_written_last(place):
    place.replace("a/b", b"one")
    place.replace("a/b", b"two")
    assert place.read("a/b") == b"two"
    assert place.digest("a/b") == sha256(b"two")
    assert place.size("a/b") == 3


def test_a_file_larger_than_the_limit_is_not_returned(place):
    place.replace("a/b", b"1234")
    assert place.read("a/b", 4) == b"1234"
    with pytest.raises(Misplaced, match="more than 3 bytes"):
        place.read("a/b", 3)


@pytest.mark.parametrize(("count", "start"), [(3, b"123"), (4, b"1234"), (900, b"1234")])
def test_the_start_of_a_file_is_no_longer_than_asked_for(place, count, start):
    place.replace("a/b", b"1234")
    assert place.start("a/b", count) == start
    with pytest.raises(FileNotFoundError):
        place.start("a/c", 3)


def test_only_the_first_of_two_creates_a_file(place):
    assert place.create("leases/x.0", b"one")
    assert not place.create("leases/x.0", b"two")
    assert place.read("leases/x.0") == b"one"


def test_touching_writes_a_file_that_is_missing(place):
    place.touch("drivers/d.json", b"content")
    assert place.read("drivers/d.json") == b"content"


def test_children_are_sorted_and_none_where_there_is_no_directory(place):
    for name in ("b", "a"):
        place.replace(f"drivers/{name}", b"")
    assert names(place, "drivers") == ["a", "b"]
    assert names(place, "nowhere") == []
    assert place.stats("nowhere") is None


def test_a_published_directory_has_its_files_and_the_manifest_that_names_them(place):
    sealed = {}
    assert place.publish("results/01/x", FILES, lambda records: sealed.update(records) or b"manifest")
    assert place.read(f"results/01/x/{MANIFEST}") == b"manifest"
    for name, data in FILES.items():
        assert place.read(f"results/01/x/{sealed[name].path}") == data
        assert (sealed[name].bytes, sealed[name].sha256) == (len(data), sha256(data))
    sizes = {name: stat.bytes for name, stat in place.stats("results/01/x").items()}
    assert sizes == {MANIFEST: 8, **{sealed[name].path: len(data) for name, data in FILES.items()}}


def test_a_directory_is_published_once(place):
    assert place.publish("results/01/x", FILES, lambda records: b"first")
    assert not place.publish("results/01/x", FILES, lambda records: b"second")
    assert place.read(f"results/01/x/{MANIFEST}") == b"first"


@pytest.mark.parametrize("verb", ["remove", "set_aside"])
def test_a_directory_that_is_taken_away_can_be_published_again(place, verb):
    place.publish("results/01/x", FILES, lambda records: b"first")
    getattr(place, verb)("results/01/x")
    assert place.stats("results/01/x") is None
    getattr(place, verb)("results/01/x")
    assert place.publish("results/01/x", FILES, lambda records: b"second")


def test_a_file_that_is_unlinked_is_gone_and_a_missing_one_is_fine(place):
    place.replace("leases/x.0", b"")
    place.unlink("leases/x.0")
    place.unlink("leases/x.0")
    assert names(place, "leases") == []


def test_nothing_is_left_in_the_temporary_folder(place):
    place.publish("results/01/x", FILES, lambda records: b"manifest")
    place.publish("results/01/x", FILES, lambda records: b"manifest")
    place.remove("results/01/x")
    assert names(place, "tmp") == []


def test_files_are_read_together_each_as_it_would_be_alone(place):
    place.replace("a/one", b"1")
    place.replace("a/large", b"12345")
    found = place.read_many(["a/one", "a/large", "a/none"], 4)
    assert found["a/one"] == b"1"
    assert isinstance(found["a/large"], Misplaced)
    assert isinstance(found["a/none"], FileNotFoundError)
    assert place.read_many([], 4) == {}


def test_many_directories_are_listed_as_each_of_them_is_alone(place):
    directories = [f"results/{number:02x}/{number}" for number in range(20)]
    for directory in directories:
        place.publish(directory, FILES, lambda records: b"manifest")
    found = place.stats_many([*directories, "results/ff/none"])
    assert found == {directory: place.stats(directory) for directory in [*directories, "results/ff/none"]}
    assert found["results/ff/none"] is None
    assert place.stat(f"{directories[0]}/{MANIFEST}") == found[directories[0]][MANIFEST]
    assert place.stat("results/00/none") is None


def test_grandchildren_are_those_in_the_folders_that_match(place):
    for path in ("results/0b/x/file", "results/0a/y/file", "results/other/z/file"):
        place.replace(path, b"")
    assert place.grandchildren("results", re.compile("..")) == [("0a", "y"), ("0b", "x")]
    assert place.grandchildren("nowhere", re.compile("..")) == []
