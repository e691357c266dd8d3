"""Tables say what was measured, and rows survive being written."""

import csv
import io
import json
import math
import sys

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from ticketdiet.core.errors import UserError
from ticketdiet.reports.table import (
    family_table,
    format_density,
    format_rows,
    parquet_rows,
    rich_summary,
    summary_table,
)


def test_a_summary_has_arms_by_densities_with_mean_and_spread(rows):
    cells = summary_table(rows)
    assert list(cells.index) == ["k=0", "all@20"]
    assert list(cells.columns) == ["100 %", "51.2 %", "26.2 %"]
    assert cells.loc["k=0", "26.2 %"] == "0.800 ± 0.020"


def test_one_replicate_shows_no_spread_and_unfinished_levels_are_empty(rows):
    cells = summary_table(rows[(rows["replicate"] == 0) & ~((rows["arm"] == "k=0") & (rows["level"] == 2))])
    assert list(cells.loc["k=0"]) == ["0.900", "0.880", ""]


def test_the_terminal_shows_every_number_and_says_what_the_spread_is(rows):
    file = io.StringIO()
    console = Console(file=file, width=120)
    console.print(rich_summary(rows, title="imaginary"))
    text = " ".join(file.getvalue().split())  # captions wrap
    for part in ("imaginary", "all@20", "51.2 %", "0.890 ± 0.010", "standard deviation (ddof = 1) over 3 replicates"):
        assert part in text


def test_titles_and_captions_are_not_wrapped_to_the_tables_width(rows):
    file = io.StringIO()
    console = Console(file=file, width=160)
    title = "a title that is a good deal longer than the narrow table which it stands above is wide"
    console.print(rich_summary(rows, title=title))
    lines = file.getvalue().splitlines()
    assert lines[0] == title
    assert lines[-1].startswith("test accuracy: mean ± standard deviation (ddof = 1) over 3 replicates; in brackets")


def printed(table):
    file = io.StringIO()
    console = Console(file=file, width=200)
    console.print(table)
    return file.getvalue()


def test_under_every_mean_stands_its_interval_and_beside_the_arm_the_number_of_replicates(rows):
    lines = [line for line in printed(rich_summary(rows)).splitlines() if "k=0" in line or "[0.8" in line]
    assert lines[0].split("│")[2].split() == ["3"]
    low, high = stats.ttest_1samp([0.90, 0.92, 0.91], 0).confidence_interval()
    assert f"[{low:.3f}, {high:.3f}]" in lines[1]


def test_the_number_of_replicates_may_differ_between_levels_and_one_has_no_interval(rows):
    text = printed(rich_summary(rows[(rows["replicate"] == 0) | (rows["level"] == 0)]))
    assert "1 to 3" in text
    assert text.count("[0.") == 2
    assert "in brackets" not in printed(rich_summary(rows[rows["replicate"] == 0]))


@pytest.mark.parametrize("width", [80, 100])
def test_no_number_of_the_summary_is_cut_in_a_narrow_terminal(make_rows, width):
    rows = make_rows({"easiest256@20": [[0.99, 0.98, 0.97], [0.98, 0.95, 0.97]]})
    wide = pd.concat([rows.assign(level=rows["level"] + 3 * i, density=rows["density"] / 8**i) for i in range(4)])
    file = io.StringIO()
    console = Console(file=file, width=width)
    console.print(rich_summary(wide))
    text = file.getvalue()
    assert "…" not in text
    lines = [line for line in text.splitlines() if "easiest256@20" in line]
    assert len(lines) == 2  # six densities each
    assert all(line.startswith("│easiest256@20 │2 │") for line in lines)


def barrier_rows(make_rows):
    found = {("barrier_mean", "train"): (0.5, 0.1, 0.3), ("barrier_mean", "test"): (0.6, 0.2, 0.4)}
    found[("connected_fraction", "train")] = (0.38, 0.77, 0.99)
    return pd.concat(
        [
            make_rows({"a": [[value] for value in values]}, kind="barrier", pair="family", tolerance=0.02).assign(
                metric=metric, split=split
            )
            for (metric, split), values in found.items()
        ]
    )


def test_the_family_table_has_a_spread_and_an_interval_beside_every_mean(make_rows):
    text = printed(family_table(barrier_rows(make_rows)))
    for part in ("│ 3 │", "0.300 ± 0.200", "0.400 ± 0.200", "71 ± 31", "95 % t-interval"):
        assert part in text
    low, high = stats.ttest_1samp([0.5, 0.1, 0.3], 0).confidence_interval()
    assert f"[{low:.3f}, {high:.3f}]" in text
    assert "[0, 100]" in text  # cut to what a fraction can be


def test_a_study_whose_families_cannot_be_read_has_a_line_instead_of_their_table(rows):
    assert "no dense family can be read" in printed(family_table(rows.assign(kind="level"), title="imaginary"))


def test_the_family_table_names_the_batch_norm_policy(make_rows):
    table = family_table(barrier_rows(make_rows), title="imaginary", batch_norm="interpolate")
    last = printed(table).splitlines()[-1]
    assert last.startswith("mean ± standard deviation (ddof = 1) over 3 replicates")
    assert last.endswith("connected: barrier of at most 0.02 nats; BatchNorm: interpolate")


@pytest.mark.parametrize(
    ("density", "text"), [(1.0, "100 %"), (0.512, "51.2 %"), (0.0352, "3.5 %"), (0.01, "1.0 %"), (0.0042, "0.42 %")]
)
def test_a_density_reads_as_a_percentage(density, text):
    assert format_density(density) == text


def test_csv_keeps_every_digit(rows):
    exact = rows.assign(value=1 / 3)
    back = list(csv.DictReader(io.StringIO(format_rows(exact, "csv"))))
    assert {float(record["value"]) for record in back} == {1 / 3}
    for column in exact:
        assert [record[column] for record in back] == [str(value) for value in exact[column]]


def test_json_keeps_every_digit_and_has_null_for_what_is_missing(rows):
    odd = rows.astype({"level": "Int64"}).assign(value=0.1 + 0.2, tolerance=math.nan)
    odd.loc[0, "level"] = pd.NA
    records = json.loads(format_rows(odd, "json"))
    assert len(records) == len(rows)
    assert records[0]["value"] == 0.1 + 0.2
    assert (records[0]["level"], records[1]["level"], records[0]["tolerance"]) == (None, 1, None)


def test_parquet_comes_back_as_it_was(rows):
    pytest.importorskip("pyarrow")
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet_rows(rows))), rows)


def test_parquet_without_pyarrow_says_what_to_install(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'ticketdiet\[parquet\]'"):
        parquet_rows(rows)


def test_a_text_table_has_a_line_a_row_and_no_colours(rows):
    lines = format_rows(rows, "table").splitlines()
    assert len(lines) == 1 + len(rows)
    assert lines[0].split() == list(rows.columns)
    assert lines[1].split()[:5] == ["imaginary", "k=0", "0", "0", "1"]
    assert "\x1b" not in lines[1]


def test_no_rows_are_still_a_table(rows):
    assert json.loads(format_rows(rows.head(0), "json")) == []
    assert format_rows(rows.head(0), "table").split() == list(rows.columns)


def test_parquet_is_no_text(rows):
    with pytest.raises(UserError, match="cannot be printed as 'parquet'"):
        format_rows(rows, "parquet")
