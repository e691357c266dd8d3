import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.models.build import build_model
from ticketdiet.tickets.controls import (
    INITIAL_WEIGHTS,
    InitialWeights,
    Ticket,
    find_weights,
    reinitialised,
    shuffled_mask,
    sign_only,
)
from ticketdiet.tickets.masks import dense_mask, layer_densities
from ticketdiet.tickets.pruning import prune


def removed(weights, mask):
    return torch.cat([weights[name][mask[name] == 0] for name in mask])


def test_reinitialised_weights_are_new_everywhere_that_is_kept_and_zero_elsewhere(ticket, make_model):
    _, _, mask = ticket
    model = build_model("resnet8", width=4, seed=5)
    mask = prune(model.state_dict(), dense_mask(model), 0.5)
    fresh = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 5, mask)
    assert fresh.keys() == model.state_dict().keys()
    assert bool((removed(fresh, mask) == 0).all())
    for name in mask:
        kept = mask[name] == 1
        assert not bool((fresh[name][kept] == model.state_dict()[name][kept]).any())
    again = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 5, mask)
    other = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 6, mask)
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)
    assert not torch.equal(fresh["conv.weight"], other["conv.weight"])


def test_reinitialised_without_a_mask_is_dense():
    fresh = reinitialised(lambda seed: build_model("resnet8", width=4, seed=seed), 0)
    assert bool((fresh["conv.weight"] != 0).all())


MASKS = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(0, 1), min_size=1, max_size=40).map(torch.tensor), min_size=1
)


@given(MASKS, st.integers(0, 2**40))
def test_a_shuffled_mask_has_the_same_density_in_every_layer(mask, seed):
    mask = {name: kept[:, None].to(torch.uint8) for name, kept in mask.items()}
    shuffled = shuffled_mask(mask, seed)
    assert layer_densities(shuffled) == layer_densities(mask)
    assert all(shuffled[name].shape == mask[name].shape and shuffled[name].dtype == torch.uint8 for name in mask)
    assert all(torch.equal(shuffled[name], value) for name, value in shuffled_mask(mask, seed).items())


def test_a_shuffled_mask_keeps_no_structure(ticket):
    mask = {"a": torch.tensor([1] * 500 + [0] * 500), "b": torch.tensor([1] * 500 + [0] * 500)}
    shuffled = shuffled_mask(mask, 1)
    assert 200 < int(shuffled["a"][:500].sum()) < 300
    assert not torch.equal(shuffled["a"], shuffled["b"])
    assert not torch.equal(shuffled["a"], shuffled_mask(mask, 2)["a"])
    assert mask["a"].tolist() == [1] * 500 + [0] * 500


def test_sign_only_keeps_signs_at_the_initial_standard_deviation(ticket, make_model):
    point, _, mask = ticket
    initial = make_model(7).state_dict()
    ticket_of_signs = sign_only(point, initial, mask)
    for name in mask:
        kept = mask[name].numpy() == 1
        std = np.float32(np.std(initial[name].numpy().astype(np.float64)))
        found, weights = ticket_of_signs[name].numpy(), point[name].numpy()
        assert np.array_equal(found[kept], np.where(weights > 0, std, -std)[kept])
        assert not found[~kept].any()
        assert found.dtype == np.float32
    for name in point.keys() - mask.keys():
        assert torch.equal(ticket_of_signs[name], point[name])


def test_sign_only_takes_the_standard_deviation_itself_and_leaves_a_zero_at_zero():
    weights = {"w": torch.tensor([[2.0, -3.0, 0.0]]), "b": torch.tensor([5.0])}
    found = sign_only(weights, {"w": 0.5}, {"w": torch.ones(1, 3)})
    assert found["w"].tolist() == [[0.5, -0.5, 0.0]]
    assert found["b"].tolist() == [5.0]
    assert weights["w"].tolist() == [[2.0, -3.0, 0.0]]


def test_sign_only_without_an_initial_tensor_says_which(ticket):
    with pytest.raises(UserError, match=r"'0\.weight'"):
        sign_only(ticket[0], {"5.weight": 1.0}, ticket[2])


@pytest.fixture
def found(ticket, make_model):
    return Ticket(ticket[0], ticket[2], make_model, initial_seed=0, seed=7)


def test_weights_by_name_are_those_of_the_functions(found, make_model):
    expected = {
        "rewound": {name: value * found.mask.get(name, 1) for name, value in found.point_weights.items()},
        "reinitialised": reinitialised(make_model, 7, found.mask),
        "sign_only": sign_only(found.point_weights, make_model(0).state_dict(), found.mask),
    }
    assert INITIAL_WEIGHTS.names() == sorted(expected)
    for name, weights in expected.items():
        by_name = find_weights(name, found)
        assert by_name.keys() == weights.keys()
        assert all(torch.equal(by_name[key], weights[key]) for key in weights), name


class Flipped(InitialWeights):
    """The other sign everywhere, whatever the mask says."""

    def weights(self, ticket):
        return {name: -value for name, value in ticket.point_weights.items()}


def test_weights_of_another_package_are_found_by_name_and_masked(found):
    before = found.point_weights["5.weight"].clone()
    with INITIAL_WEIGHTS.temporarily("flipped", Flipped):
        weights = find_weights("flipped", found)
    kept = found.mask["5.weight"] == 1
    assert bool((removed(weights, found.mask) == 0).all())
    assert torch.equal(weights["5.weight"][kept], -before[kept])
    assert torch.equal(found.point_weights["5.weight"], before)


def test_unknown_weights_and_options_are_refused(found):
    with pytest.raises(UnknownName, match=r"unknown initial weights 'rewind'[\s\S]*did you mean 'rewound'"):
        find_weights("rewind", found)
    with pytest.raises(UserError, match="initial weights 'sign_only' has no option 'std'"):
        find_weights("sign_only", found, {"std": 1})
