"""Evidence of several machines is put together by whole replicates."""

import pandas as pd
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.paper.evidence import pooled, read_rows_file


def test_replicates_of_another_machine_are_added(rows_of):
    here, there = (rows_of({("a", 1): 0.5}, replicates=8, seed=seed) for seed in (0, 1))
    found = pooled([here[here["replicate"] < 3], there[there["replicate"] >= 3]], "s")
    assert sorted(found["replicate"]) == list(range(8))


def test_a_replicate_of_an_arm_is_taken_once_and_whole_from_the_first_source(rows_of):
    here = rows_of({("a", 1): 0.5, ("a", 2): 0.4}, seed=0)
    there = rows_of({("a", 1): 0.5, ("a", 2): 0.4, ("b", 1): 0.3}, seed=1)
    found = pooled([here, there], "s")
    of_a = found[found["arm"] == "a"]
    pd.testing.assert_series_equal(of_a["value"], here["value"])
    assert len(found[found["arm"] == "b"]) == 8


def test_a_replicate_that_was_only_begun_in_one_source_is_taken_from_where_it_is_further(rows_of):
    here = rows_of({("a", 1): 0.5, ("a", 2): 0.4}, seed=0)
    begun = here[(here["replicate"] != 3) | (here["level"] == 1)]
    there = rows_of({("a", 1): 0.5, ("a", 2): 0.4}, seed=1)
    found = pooled([begun, there], "s")
    for replicate, expected in ((2, here), (3, there)):
        values = found[found["replicate"] == replicate]["value"]
        assert sorted(values) == sorted(expected[expected["replicate"] == replicate]["value"])


def test_rows_are_judged_under_one_name(rows_of):
    found = pooled([rows_of({("a", 1): 0.5}).assign(study="x"), rows_of({("b", 1): 0.5})], "s")
    assert set(found["study"]) == {"s"}


def test_nothing_and_nothing_is_nothing():
    assert pooled([], "s").empty


def test_rows_survive_a_file(rows_of, tmp_path):
    rows = rows_of({("a", 1): 0.5})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    pd.testing.assert_frame_equal(read_rows_file(tmp_path / "rows.csv"), rows)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\x00\x01"])
def test_what_is_no_file_of_rows_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "other.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"other\.csv"):
        read_rows_file(path)
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read_rows_file(tmp_path / "nowhere.csv")
