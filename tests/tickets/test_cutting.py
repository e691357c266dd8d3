import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.models.build import build_model
from ticketdiet.tickets.criteria import prunable_shapes
from ticketdiet.tickets.cutting import apportion, erk_counts, mask_from_scores
from ticketdiet.tickets.masks import count_kept, dense_mask, density, layer_densities
from ticketdiet.tickets.pruning import prune

SHAPES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 6), st.integers(1, 7)), min_size=1)
DENSITIES = st.floats(0.01, 1.0)


@st.composite
def scored(draw):
    """Scores with many ties, few ties or one single value."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    distinct = draw(st.sampled_from([1, 3, 1000]))
    return {name: torch.randint(0, distinct, shape, generator=generator) / 8 for name, shape in draw(SHAPES).items()}


def total_of(scores):
    return sum(values.numel() for values in scores.values())


@given(scored(), DENSITIES, st.sampled_from(["global", "layer"]))
def test_the_count_is_exact_for_any_scores_density_and_scope(scores, share, scope):
    wanted = round(share * total_of(scores))
    if wanted:
        mask = mask_from_scores(scores, share, scope=scope)
        assert count_kept(mask) == wanted
        assert {name: kept.shape for name, kept in mask.items()} == {name: s.shape for name, s in scores.items()}


@given(scored(), DENSITIES)
def test_what_stays_is_what_sorting_by_score_name_and_position_puts_last(scores, share):
    wanted = round(share * total_of(scores))
    if wanted:
        table = sorted(
            (value, name, place) for name in scores for place, value in enumerate(scores[name].flatten().tolist())
        )
        stay = {entry[1:] for entry in table[len(table) - wanted :]}
        mask = mask_from_scores(scores, share)
        kept = {(name, place) for name in mask for place in mask[name].flatten().nonzero().flatten().tolist()}
        assert kept == stay


@given(scored(), DENSITIES, st.randoms(use_true_random=False))
def test_the_order_of_the_mapping_is_irrelevant_under_ties_too(scores, share, random):
    if round(share * total_of(scores)):
        names = list(scores)
        random.shuffle(names)
        for scope in ("global", "layer"):
            mask = mask_from_scores(scores, share, scope=scope)
            again = mask_from_scores({name: scores[name] for name in names}, share, scope=scope)
            assert all(torch.equal(mask[name], again[name]) for name in scores)


@given(scored(), DENSITIES, DENSITIES)
def test_sparser_masks_are_nested_in_denser_ones(scores, one, other):
    sparse, dense = sorted((one, other))
    if round(sparse * total_of(scores)):
        inner, outer = mask_from_scores(scores, sparse), mask_from_scores(scores, dense)
        assert all(bool((inner[name] <= outer[name]).all()) for name in scores)


@given(scored(), DENSITIES)
def test_every_layer_keeps_its_share_within_one_weight_when_cut_by_layer(scores, share):
    if round(share * total_of(scores)):
        mask = mask_from_scores(scores, share, scope="layer")
        assert all(abs(int(kept.sum()) - share * kept.numel()) <= 1 for kept in mask.values())


def test_cutting_magnitudes_is_pruning_once():
    model = build_model("resnet8", width=4)
    magnitudes = {name: model.state_dict()[name].abs() for name in dense_mask(model)}
    pruned = prune(model.state_dict(), dense_mask(model), 0.8)
    mask = mask_from_scores(magnitudes, density(pruned))
    assert all(torch.equal(mask[name], pruned[name]) for name in mask)


@given(st.integers(1, 400_000), st.data())
def test_the_density_of_a_mask_gives_back_its_count(total, data):
    kept = data.draw(st.integers(1, total))
    assert round(kept / total * total) == kept


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.01, 20, float("nan"), 0.01])
def test_a_density_that_keeps_nothing_or_too_much_is_refused(wrong):
    with pytest.raises(UserError, match=r"fraction in \(0, 1\]"):
        mask_from_scores({"weight": torch.rand(5, 4)}, wrong)


def test_scores_that_have_no_rank_are_refused_by_name():
    with pytest.raises(UserError, match="'b' are not all finite"):
        mask_from_scores({"a": torch.ones(2, 2), "b": torch.tensor([[1.0, float("nan")]])}, 0.5)


def test_an_unknown_scope_is_refused():
    with pytest.raises(UnknownName, match="one of: global, layer"):
        mask_from_scores({"a": torch.ones(2, 2)}, 0.5, scope="network")  # type: ignore[arg-type]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), min_size=1), st.data())
def test_apportioned_counts_fit_sum_up_and_stay_near_their_quotas(sizes, data):
    total = data.draw(st.integers(0, sum(sizes.values())))
    quotas = {name: total * size / sum(sizes.values()) for name, size in sizes.items()}
    counts = apportion(quotas, sizes, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= sizes[name] and abs(counts[name] - quotas[name]) <= 1 for name in sizes)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(1, 9), st.floats(0, 9)), min_size=1), st.data()
)
def test_counts_that_cannot_hold_their_quota_hand_it_on(wanted, data):
    sizes = {name: size for name, (size, _) in wanted.items()}
    total = data.draw(st.integers(0, sum(sizes.values())))
    counts = apportion({name: quota for name, (_, quota) in wanted.items()}, sizes, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= sizes[name] for name in sizes)


def test_erk_counts_follow_the_formula_by_hand():
    """Dimensions sum to 3 + 8 + 3 + 3 = 17, 8 + 16 + 3 + 3 = 30 and 16 + 10 = 26; weights 216, 1152 and 160.

    At density 0.25, 382 weights stay; the factor is 382 / 73 = 5.23, so that no layer is full (89, 157 and 136).
    """
    shapes = {"conv1": (8, 3, 3, 3), "conv2": (16, 8, 3, 3), "fc": (10, 16)}
    assert erk_counts(shapes, 0.25) == {"conv1": 89, "conv2": 157, "fc": 136}
    # At 0.5, 764 stay and the factor 764 / 73 = 10.47 would give fc 272 of 160: fc is dense, and 604 / 47 = 12.85
    # would give conv1 218.5 of 216: it is dense too, and conv2 gets what is left.
    assert erk_counts(shapes, 0.5) == {"conv1": 216, "conv2": 388, "fc": 160}


@given(SHAPES, DENSITIES)
def test_erk_keeps_the_exact_total_and_no_layer_more_than_it_has(shapes, share):
    sizes = {name: shape[0] * shape[1] for name, shape in shapes.items()}
    if round(share * sum(sizes.values())):
        counts = erk_counts(shapes, share)
        assert sum(counts.values()) == round(share * sum(sizes.values()))
        assert all(0 <= counts[name] <= sizes[name] for name in sizes)


def test_erk_layers_that_are_not_full_keep_weights_in_proportion_to_their_dimensions():
    shapes = prunable_shapes(build_model("resnet20"))
    counts = erk_counts(shapes, 0.1)
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    factors = [counts[name] / sum(shape) for name, shape in shapes.items() if counts[name] < sizes[name]]
    assert len(factors) > 15
    assert max(factors) - min(factors) < 0.1
    full = [name for name in shapes if counts[name] == sizes[name]]
    assert all(sizes[name] <= max(factors) * sum(shapes[name]) + 1 for name in full)


def test_density_one_keeps_everything():
    shapes = {"a": (3, 4), "b": (2, 5)}
    assert erk_counts(shapes, 1.0) == {"a": 12, "b": 10}
    assert set(layer_densities(mask_from_scores({"a": torch.rand(3, 4)}, 1.0)).values()) == {1.0}
