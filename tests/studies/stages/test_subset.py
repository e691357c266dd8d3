import dataclasses

import numpy as np
import pytest

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Scores
from ticketdiet.data.subset_rules import SUBSETS
from ticketdiet.data.subsets import choose_subset
from ticketdiet.studies.stages.score import Score
from ticketdiet.studies.stages.subset import Subset


def chosen(tiny, stage):
    result = stage.compute(tiny.context)
    indices = result.tensors["subset"]["indices"].numpy()
    assert result.facts == {"size": len(indices)}
    return indices


def test_the_easiest_are_those_of_the_lowest_mean_score(tiny):
    stage = tiny.find(Subset, "easiest32@4")
    score = tiny.make(Score, "el2n")
    assert stage.score == score.address
    mean = tiny.store.tensors(score.address, "scores")["matrix"].double().mean(0).numpy()
    expected = np.argsort(mean, kind="stable")[:32]
    assert sorted(chosen(tiny, stage)) == sorted(expected)


def test_a_random_subset_is_drawn_by_the_seed_of_its_stage(tiny):
    stage = tiny.find(Subset, "random@4")
    np.testing.assert_array_equal(chosen(tiny, stage), choose_subset(96, "random", 32, seed=stage.seed))
    other = dataclasses.replace(stage, seed=stage.seed + 1)
    assert not np.array_equal(chosen(tiny, other), chosen(tiny, stage))


def test_a_subset_like_another_has_as_many_of_each_class(tiny):
    like, theirs = tiny.find(Subset, "like@4"), tiny.make(Subset, "easiest32@4")
    assert like.like == theirs.address
    labels = tiny.train.labels.numpy()
    ours, others = chosen(tiny, like), tiny.context.subset(theirs.address)
    assert np.bincount(labels[ours]).tolist() == np.bincount(labels[others]).tolist()
    assert not np.array_equal(ours, others)


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("hardest", {}),
        ("window", {"offset": 8}),
        ("stratified", {"strata": 4}),
        ("mixture", {"mix": 0.25}),
        ("easiest", {"balanced": True}),
        ("easiest", {"classes": (0, 1, 2, 3), "size": 20}),
    ],
)
def test_every_option_of_a_rule_reaches_it(tiny, rule, fields):
    stage = dataclasses.replace(tiny.find(Subset, "easiest32@4"), rule=rule, **fields)
    score = tiny.make(Score, "el2n")
    scores = Scores(tiny.store.tensors(score.address, "scores")["matrix"].numpy(), "stored", tiny.train.fingerprint)
    options = {"seed": stage.seed, "labels": tiny.train.labels.numpy(), **fields}
    size = options.pop("size", 32)
    np.testing.assert_array_equal(chosen(tiny, stage), choose_subset(scores, rule, size, **options))
    assert rule in SUBSETS


def test_scores_of_other_images_are_refused(tiny):
    stage = tiny.find(Subset, "easiest32@4")
    with pytest.raises(DataError, match="images"):
        dataclasses.replace(stage, data={"train": "0" * 64}).compute(tiny.context)
