"""Levels of two arms pair by density, and replicates by study and number."""

import math

import numpy as np
import pandas as pd
import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.reports.pairing import choose_level, nearest_density, pair_levels, pairing_note
from ticketdiet.studies.load import parse_study

DENSITIES = np.array([1.0, 0.5, 0.25])


@pytest.mark.parametrize(
    ("wanted", "place"), [(1, 0), (0.25, 2), (0.2549, 2), (0.256, None), (0.49, None), (0.495, 1), (2, None)]
)
def test_a_density_is_found_within_two_percent(wanted, place):
    assert nearest_density(DENSITIES, wanted) == place


@pytest.mark.parametrize("wanted", [0, -1, math.nan, math.inf])
def test_what_is_no_density_finds_nothing(wanted):
    assert nearest_density(DENSITIES, wanted) is None


def test_of_two_near_densities_the_nearer_one_counts():
    assert nearest_density(np.array([0.101, 0.1, 0.099]), 0.0992) == 2


def paired(rows, others=None, within_study=True):
    found = pair_levels(rows, "a", "b", others=rows if others is None else others, within_study=within_study)
    return {one.level: one for one in found}


def test_levels_of_arms_with_another_pruning_pair_by_density(make_rows):
    rows = make_rows({"a": [[0.9, 0.8, 0.7]], "b": [[0.5, 0.4, 0.3]]})
    finer = rows["arm"] == "b"
    rows.loc[finer, "density"] = rows.loc[finer, "level"].map({0: 1.0, 1: 0.7, 2: 0.511})
    found = paired(rows)
    assert {level: (one.values.tolist(), one.others.tolist()) for level, one in found.items()} == {
        0: ([0.9], [0.5]),
        1: ([0.8], [0.3]),
    }


def test_replicates_pair_within_their_study_and_across_two_by_number(make_rows):
    rows = make_rows({"a": [[0.1], [0.2]], "b": [[0.3], [0.4]]})
    second = make_rows({"a": [[0.5]], "b": [[0.6], [0.7], [0.8]]}).assign(study="second")
    both = paired(pd.concat([second, rows]))[0]
    assert both.replicates == (("imaginary", 0), ("imaginary", 1), ("second", 0))
    assert (both.values.tolist(), both.others.tolist()) == ([0.1, 0.2, 0.5], [0.3, 0.4, 0.6])
    across = paired(rows, others=second, within_study=False)[0]
    assert (across.values.tolist(), across.others.tolist()) == ([0.1, 0.2], [0.6, 0.7])
    assert across.replicates == ((0,), (1,))


def test_a_level_is_chosen_by_number_or_by_density(rows):
    assert set(choose_level(rows, level=1)["level"]) == {1}
    assert set(choose_level(rows, at=0.515)["level"]) == {1}
    assert len(choose_level(rows)) == len(rows)
    shifted = rows.assign(level=rows["level"] + (rows["arm"] == "k=0"))
    assert choose_level(shifted, at=0.262).groupby("arm")["level"].unique().map(list).to_dict() == {
        "all@20": [2],
        "k=0": [3],
    }


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"at": 0.4}, r"no rows of a density within 2% of 0.4(.|\n)*one of: 1, 0.512, 0.262"),
        ({"at": math.nan}, "no rows of a density within 2% of nan"),
        ({"level": 7}, r"no rows of level 7(.|\n)*one of: 0, 1, 2"),
        ({"level": 1, "at": 0.512}, r"both level=1 and the density 0.512(.|\n)*leave one out"),
    ],
)
def test_a_level_that_there_is_not_is_refused_with_those_that_there_are(rows, chosen, message):
    with pytest.raises(UserError, match=message):
        choose_level(rows, **chosen)


def test_a_note_says_what_two_studies_do_not_have_in_common(tiny_text):
    study = parse_study(tiny_text)
    assert pairing_note(study, study) == ""
    reseeded = parse_study(tiny_text, ["seed=7", "study=again"])
    assert pairing_note(study, reseeded).startswith("tiny has the seed 0 and again the seed 7, so that replicates")
    longer = parse_study(tiny_text, ["training.steps=20", "study=longer", "replicates=2"])
    assert pairing_note(study, longer).startswith("tiny and longer also differ in training, so that")
