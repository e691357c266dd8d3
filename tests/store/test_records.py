"""Records of studies come back as they were written, the last one first, or count as absent."""

import gzip
import os
import uuid

import pytest

from ticketdiet.store.opening import open_place
from ticketdiet.store.records import StudyRecords

DIGEST, OTHER = "0" * 16, "1" * 16


@pytest.fixture(params=["folder", "memory"])
def place(request, tmp_path):
    place = open_place(tmp_path / "place" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")
    place.prepare()
    return place


def test_a_record_comes_back_and_the_last_one_counts(place):
    records = StudyRecords(place)
    records.write("tiny", DIGEST, {"stages": [1]})
    records.write("tiny", DIGEST, {"stages": [1, 2]})
    assert records.read("tiny", DIGEST) == {"stages": [1, 2]}
    assert records.list() == [("tiny", DIGEST)]


def test_a_removed_record_is_absent(place):
    records = StudyRecords(place)
    records.write("tiny", DIGEST, {})
    records.remove("tiny", DIGEST)
    records.remove("tiny", DIGEST)
    assert records.read("tiny", DIGEST) is None
    assert records.list() == []


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", gzip.compress(b"{"), gzip.compress(b"[" * 100_000), gzip.compress(b"{}")[:-9]],
    ids=["empty", "plain", "broken", "deep", "cut"],  # compressed bytes hold the time, and would name each run anew
)
def test_a_record_that_cannot_be_read_is_absent(place, data):
    place.replace(f"studies/tiny.{DIGEST}.json.gz", data)
    assert StudyRecords(place).read("tiny", DIGEST) is None


def test_records_are_listed_from_the_last_to_the_first_without_foreign_files(tmp_path):
    place = open_place(tmp_path)
    records = StudyRecords(place)
    for seconds, (name, digest) in enumerate([("tiny", DIGEST), ("tiny", OTHER), ("large", DIGEST)]):
        records.write(name, digest, {})
        os.utime(tmp_path / "studies" / f"{name}.{digest}.json.gz", (seconds, seconds))
    (tmp_path / "studies" / "notes.txt").write_text("mine")
    assert records.list() == [("large", DIGEST), ("tiny", OTHER), ("tiny", DIGEST)]


def test_a_name_that_would_leave_the_folder_is_a_fault_of_the_program(place):
    with pytest.raises(AssertionError, match="cannot be the name of a record"):
        StudyRecords(place).write("../tiny", DIGEST, {})
