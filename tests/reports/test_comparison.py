"""The comparison of two arms reads well: table, remarks and sentences."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ticketdiet.reports.comparison import comparison_table, curve_sentences
from ticketdiet.reports.statistics import compare

ARMS: dict[str, Any] = {"arm": "all@20", "baseline": "k=0"}


def printed(compared, width=200, **options):
    file = io.StringIO()
    Console(file=file, width=width).print(comparison_table(compared, metric="accuracy", split="test", **options))
    return file.getvalue()


@pytest.fixture
def many(make_rows):
    """Eight replicates: no difference at level 0, a clear one at levels 1 and 2."""
    base = np.random.default_rng(0).normal(0.8, 0.01, size=(8, 3))
    more = base + np.random.default_rng(1).normal([0, 0.03, 0.05], 0.004, size=(8, 3))
    return make_rows({"k=0": base.tolist(), "all@20": more.tolist()})


def test_a_comparison_shows_differences_with_sign_interval_n_p_and_outcome(many):
    text = printed(compare(many, **ARMS))
    lines = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    assert [line[-2].strip() for line in lines] == ["undecided", "", "above", "", "above", ""]
    assert [line[-3].strip() for line in lines][2:] == ["0.00781", "0.0234", "0.00781", "0.0234"]
    assert [line[1].strip() for line in lines][::2] == ["0", "1", "2"]
    assert "corrected p: after Holm for 3 comparisons" in text
    assert "all@20 is above k=0 at 2 of 3 densities, below it at 0, and undecided at 1." in text
    assert "level 0: undecided: n = 8; p = " in text


def test_three_replicates_are_said_to_decide_nothing(rows):
    text = printed(compare(rows, **ARMS))
    assert "levels 1, 2: undecided: n = 3; the smallest p-value that 3 replicates can reach is 0.25\n" in text
    assert "level 0: undecided: n = 3; the smallest p-value that 3 replicates can reach is 0.25, and the 3 diff" in text
    assert "+0.0900 ± 0.0100" in text
    assert "[+0.0800, +0.1000]" in text


def test_one_density_needs_no_correction_and_two_replicates_no_test(rows, many):
    assert "orrected" not in printed(compare(many, **ARMS, level=1))
    assert "at 1 of 1 density" in printed(compare(many, **ARMS, level=1))
    assert "sign-flip" not in printed(compare(rows[rows["replicate"] < 2], **ARMS))


def test_no_number_is_cut_in_a_narrow_terminal(many):
    text = printed(compare(many, **ARMS), width=80)
    assert "…" not in text
    assert "undecided" in text


def test_the_sentences_tell_matching_densities_and_the_area(many):
    own, base, area = curve_sentences(many, **ARMS, margin=0.02)
    assert own == (
        "all@20 matches its dense networks within 0.02 down to a density of 26.2 % (n = 8, 95 % interval 26.2 % to "
        "26.2 %), which is the sparsest that was measured."
    )
    assert base.startswith("k=0 matches its dense networks")
    assert area.startswith("Averaged over the logarithm of density, 100 % to 26.2 %, all@20 minus k=0 is +0.0")
    assert area.endswith("n = 8, p = 0.00781: all@20 is above k=0.")


def test_the_sentences_name_gaps_and_say_when_nothing_sparse_matches(make_rows):
    rows = make_rows({"a": [[0.9, 0.8, 0.9]] * 2, "b": [[0.9, 0.8, 0.7]] * 2})
    own, base, _ = curve_sentences(rows, arm="a", baseline="b")
    assert own.endswith("26.2 % (n = 2), which is the sparsest that was measured; level 1 before it does not match.")
    assert base == "b matches its dense networks within 0.005 at no sparser density (n = 2)."


def test_what_cannot_be_said_of_the_curves_is_said_instead(rows):
    sparse = rows[rows["level"] == 2]
    assert curve_sentences(sparse, **ARMS) == (
        "No replicate has accuracy on test at every level of all@20, and of the dense networks of all@20.",
        "No replicate has accuracy on test at every level of k=0, and of the dense networks of k=0.",
        "No replicate of all@20 and k=0 has accuracy on test at two or more densities.",
    )
    barriers = rows.assign(metric="barrier_mean")
    assert len(curve_sentences(barriers, **ARMS, metric="barrier_mean")) == 1


def test_names_of_arms_are_shown_as_they_are(rows):
    odd = pd.concat([rows, rows[rows["arm"] == "k=0"].assign(arm="[red]k[/red]")])
    assert "[red]k[/red]" in printed(compare(odd, arm="all@20", baseline="[red]k[/red]"))
