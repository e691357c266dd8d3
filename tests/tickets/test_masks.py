import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.models.build import build_model
from ticketdiet.tickets.masks import (
    apply_mask,
    check_mask,
    count_kept,
    dense_mask,
    density,
    empty_layers,
    layer_densities,
    prunable_names,
)


def test_convolutions_and_linear_layers_are_prunable_first_and_last_included(make_model):
    assert prunable_names(make_model()) == ("0.weight", "5.weight")


def test_resnet20_has_as_many_prunable_weights_as_the_paper_counts():
    model = build_model("resnet20", num_classes=10)
    assert count_kept(dense_mask(model)) == 270_896
    assert not [name for name in prunable_names(model) if "bn" in name or name.endswith("bias")]


def test_a_layer_that_is_the_whole_network_is_prunable():
    assert prunable_names(nn.Linear(2, 2)) == ("weight",)


def test_a_tensor_shared_by_two_layers_counts_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    assert prunable_names(nn.Sequential(first, second)) == ("0.weight",)


def test_ignored_names_stay_dense(make_model):
    assert list(dense_mask(make_model(), ["5.weight"])) == ["0.weight"]


def test_ignoring_a_name_that_matches_nothing_is_an_error_that_lists_the_names(make_model):
    with pytest.raises(UserError, match=r"'5\.bias' cannot be ignored(?s:.)*0\.weight, 5\.weight"):
        dense_mask(make_model(), ["5.bias"])


@pytest.mark.parametrize("ignore", [["0.weight", "5.weight"]])
def test_a_network_with_nothing_to_prune_is_an_error(make_model, ignore):
    with pytest.raises(UserError, match="nothing to prune"):
        dense_mask(make_model(), ignore)
    with pytest.raises(UserError, match="nothing to prune"):
        dense_mask(nn.BatchNorm2d(2))


def test_density_is_the_share_kept_over_all_layers():
    mask = {"a": torch.tensor([1, 0, 0, 0], dtype=torch.uint8), "b": torch.ones(12, dtype=torch.uint8)}
    assert count_kept(mask) == 13
    assert density(mask) == 13 / 16
    assert layer_densities(mask) == {"a": 0.25, "b": 1.0}
    assert empty_layers(mask) == ()
    assert empty_layers(mask | {"a": torch.zeros(4)}) == ("a",)


def test_the_density_of_a_fresh_network_is_one(make_model):
    assert density(dense_mask(make_model())) == 1


def test_applying_a_mask_makes_zeros_in_a_copy_even_of_what_is_not_finite():
    weights = {"a": torch.tensor([-1.0, float("nan"), float("inf"), 2.0]), "bias": torch.ones(1)}
    masked = apply_mask(weights, {"a": torch.tensor([1, 0, 0, 0], dtype=torch.uint8)})
    assert masked["a"].tolist() == [-1, 0, 0, 0]
    assert not torch.signbit(masked["a"][1:]).any()
    assert torch.equal(masked["bias"], weights["bias"])
    assert weights["a"][3] == 2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"b": torch.ones(4)}, "matches no weight"),
        ({"a": torch.ones(2, 2)}, r"shape \(2, 2\), but its weight has \(4,\)"),
        ({"a": torch.tensor([0, 1, 2, 1])}, "other values than 0 and 1"),
        ({"a": torch.tensor([0, 1, float("nan"), 1])}, "other values than 0 and 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_by_name(mask, message):
    with pytest.raises(UserError, match=message):
        check_mask({"a": torch.ones(4)}, mask)
