import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.models.build import build_model
from ticketdiet.tickets.masks import count_kept, dense_mask
from ticketdiet.tickets.pruning import prune

FIXED = {
    "conv.weight": torch.tensor([-11, 3, -7, 7, -3, 11, 1, -9, 5, -5, 9, -1]).reshape(2, 2, 3) / 4,
    "fc.weight": torch.tensor([-8, -2, 4, -6, 0, 6, -4, 2]).reshape(2, 4) / 4,
}


def by_numpy(weights, mask, fraction, rule):
    """Both rules from their definitions: a table of the kept weights, sorted by magnitude, name and position."""
    table = [
        (abs(value), name, place)
        for name in weights
        for place, value in enumerate(weights[name].double().numpy().ravel().tolist())
        if mask[name].numpy().ravel()[place]
    ]
    count = math.ceil(fraction * len(table))
    if rule == "exact":
        removed = {entry[1:] for entry in sorted(table)[:count]}
    else:
        magnitudes = np.sort([entry[0] for entry in table])
        removed = {entry[1:] for entry in table if entry[0] <= magnitudes[min(count, len(table) - 1)]}
    pruned = {name: old.numpy().copy() for name, old in mask.items()}
    for name, place in removed:
        pruned[name].flat[place] = 0
    return pruned


# Few distinct values: nearly every draw has ties, at the threshold too.
SHAPES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1)
FRACTIONS = st.floats(0.01, 0.99)
RULES = st.sampled_from(["exact", "threshold"])


@st.composite
def networks(draw):
    """Weights with many ties, and a mask that has some removed already."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    distinct = draw(st.sampled_from([1, 3, 1000]))
    shapes = draw(SHAPES)
    weights = {
        name: torch.randint(-distinct, distinct + 1, shape, generator=generator) / 8 for name, shape in shapes.items()
    }
    share = draw(st.sampled_from([0.3, 0.8, 1.0]))
    mask = {name: (torch.rand(shape, generator=generator) < share).to(torch.uint8) for name, shape in shapes.items()}
    return weights, mask


@given(networks(), FRACTIONS, RULES)
def test_both_rules_agree_with_numpy_ties_included(network, fraction, rule):
    weights, mask = network
    if count_kept(mask):
        expected = by_numpy(weights, mask, fraction, rule)
        pruned = prune(weights, mask, fraction, rule)
        assert all(np.array_equal(pruned[name].numpy(), expected[name]) for name in mask)


@given(networks(), FRACTIONS)
def test_exact_removes_exactly_the_share_rounded_up(network, fraction):
    weights, mask = network
    kept = count_kept(mask)
    assert count_kept(prune(weights, mask, fraction)) == kept - math.ceil(fraction * kept)


@given(networks(), FRACTIONS, RULES)
def test_masks_are_nested(network, fraction, rule):
    weights, mask = network
    pruned = prune(weights, mask, fraction, rule)
    assert list(pruned) == list(mask)
    assert all(bool((pruned[name] <= mask[name]).all()) for name in mask)


@given(networks(), FRACTIONS, RULES, st.randoms(use_true_random=False))
def test_the_order_of_the_mapping_is_irrelevant_under_ties_too(network, fraction, rule, random):
    weights, mask = network
    names = list(mask)
    random.shuffle(names)
    pruned = prune(weights, mask, fraction, rule)
    shuffled = prune({name: weights[name] for name in names}, {name: mask[name] for name in names}, fraction, rule)
    assert all(torch.equal(pruned[name], shuffled[name]) for name in mask)


@given(networks(), FRACTIONS)
def test_whatever_goes_is_no_larger_than_whatever_stays(network, fraction):
    weights, mask = network
    pruned = prune(weights, mask, fraction)
    gone = [float(value) for name in mask for value in weights[name][(mask[name] == 1) & (pruned[name] == 0)].abs()]
    stay = [float(value) for name in mask for value in weights[name][pruned[name] == 1].abs()]
    assert max(gone, default=0) <= min(stay, default=math.inf)


def test_the_published_rule_removes_one_more_than_the_exact_one_without_ties():
    weights = {"weight": torch.arange(1.0, 101).reshape(10, 10)}
    assert count_kept(prune(weights, None, 0.2, "exact")) == 80
    assert count_kept(prune(weights, None, 0.2, "threshold")) == 79


def test_the_published_rule_removes_every_tie_at_the_threshold():
    weights = {"weight": torch.tensor([[1.0, 2, 2, 2, 2, 2, 2, 3, 3, 3]])}
    assert prune(weights, None, 0.2, "threshold")["weight"].tolist() == [[0] * 7 + [1] * 3]
    assert prune(weights, None, 0.2, "exact")["weight"].tolist() == [[0, 0] + [1] * 8]


def test_golden_masks_under_both_rules():
    """Written out by hand: 6 of 20 go, and +-0.75 stands at the cut twice."""
    exact, threshold = (prune(FIXED, None, 0.3, rule) for rule in ("exact", "threshold"))
    assert exact["conv.weight"].flatten().tolist() == [1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0]
    assert threshold["conv.weight"].flatten().tolist() == [1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 0]
    for mask in (exact, threshold):
        assert mask["fc.weight"].flatten().tolist() == [1, 0, 1, 1, 0, 1, 1, 0]


def test_golden_counts_of_resnet20_over_ten_levels():
    model = build_model("resnet20", num_classes=10)
    mask, kept = dense_mask(model), []
    for _ in range(10):
        mask = prune(model.state_dict(), mask)
        kept.append(count_kept(mask))
    assert kept == [216716, 173372, 138697, 110957, 88765, 71012, 56809, 45447, 36357, 29085]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float32, torch.float64])
def test_a_mask_keeps_its_dtype(dtype):
    mask = {name: torch.ones(value.shape, dtype=dtype) for name, value in FIXED.items()}
    pruned = prune(FIXED, mask, 0.3)
    assert {value.dtype for value in pruned.values()} == {dtype}
    assert all(torch.equal(pruned[name].to(torch.uint8), prune(FIXED, None, 0.3)[name]) for name in mask)


def test_nothing_that_was_given_is_changed():
    mask = {name: torch.ones(value.shape, dtype=torch.uint8) for name, value in FIXED.items()}
    before = {name: value.clone() for name, value in FIXED.items()}
    prune(FIXED, mask, 0.5)
    assert all(bool(value.all()) for value in mask.values())
    assert all(torch.equal(FIXED[name], before[name]) for name in before)


def test_without_a_mask_matrices_and_kernels_called_weight_are_prunable():
    weights = FIXED | {"bn.weight": torch.zeros(3), "fc.bias": torch.zeros(3), "table": torch.zeros(3, 3)}
    assert list(prune(weights)) == list(FIXED)


def test_double_precision_decides_what_single_would_tie():
    weights = {"weight": torch.tensor([[1 + 1e-12, 1.0, 2.0]], dtype=torch.float64)}
    assert prune(weights, None, 0.3)["weight"].tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_can_be_pruned(dtype):
    short = {name: value.to(dtype) for name, value in FIXED.items()}  # quarters up to 11/4 are exact in both
    assert all(torch.equal(prune(short, None, 0.3)[name], prune(FIXED, None, 0.3)[name]) for name in FIXED)


def test_the_last_weight_may_go_and_then_there_is_nothing_left_to_remove():
    weights = {"weight": torch.ones(1, 1)}
    empty = prune(weights, None, 0.2)
    assert count_kept(empty) == count_kept(prune(weights, empty, 0.2)) == 0
    assert count_kept(prune(weights, empty, 0.2, "threshold")) == 0


def test_removed_weights_may_be_anything():
    weights = {"weight": torch.tensor([[float("nan"), 1.0, 2.0]])}
    mask = {"weight": torch.tensor([[0, 1, 1]], dtype=torch.uint8)}
    assert prune(weights, mask, 0.5)["weight"].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_zero_and_one_is_refused(fraction):
    with pytest.raises(UserError, match="strictly between 0 and 1"):
        prune(FIXED, None, fraction)


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(UnknownName, match="one of: exact, threshold"):
        prune(FIXED, None, 0.2, "layerwise")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_kept_weight_that_is_not_finite_is_refused_by_name(value):
    weights = FIXED | {"fc.weight": torch.full((2, 4), value)}
    with pytest.raises(UserError, match=r"'fc\.weight' are not all finite"):
        prune(weights)


def test_weights_without_anything_prunable_are_refused():
    with pytest.raises(UserError, match=r"No weight is prunable among: a, norm\.weight"):
        prune({"a": torch.ones(2, 2), "norm.weight": torch.ones(2)})


def test_a_mask_of_other_weights_is_refused():
    with pytest.raises(UserError, match="matches no weight"):
        prune(FIXED, {"head.weight": torch.ones(2, 2)})
