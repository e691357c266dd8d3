"""Points of the line between two networks, bit for bit, and the mask that applies there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.landscape.interpolation import Interpolation, midpoint_mask

from .conftest import Pair


def test_the_ends_are_bit_exact_copies(pair: Pair) -> None:
    model, a, b = pair
    line = Interpolation(model, a, b)
    for alpha, end in ((0.0, a), (0.3, None), (1.0, b), (0.0, a)):
        line.write(alpha)
        if end is not None:
            assert all(torch.equal(tensor, end[name]) for name, tensor in model.state_dict().items())


def test_in_between_floats_mix_and_integers_come_from_a(pair: Pair) -> None:
    model, a, b = pair
    Interpolation(model, a, b).write(0.25)
    for name, tensor in model.state_dict().items():
        expected = 0.75 * a[name].double() + 0.25 * b[name].double() if tensor.is_floating_point() else a[name]
        torch.testing.assert_close(tensor.double(), expected.double(), rtol=1e-6, atol=1e-7)


def test_writing_keeps_the_storage_of_every_tensor(pair: Pair) -> None:
    model, a, b = pair
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    Interpolation(model, a, b).write(0.5)
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == before


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4))
def test_the_midpoint_does_not_depend_on_which_is_called_a(values: list[float]) -> None:
    model = nn.Linear(2, 1, bias=False)
    a, b = {"weight": torch.tensor([values[:2]])}, {"weight": torch.tensor([values[2:]])}
    Interpolation(model, a, b).write(0.5)
    first = model.weight.detach().clone()
    Interpolation(model, b, a).write(0.5)
    assert torch.equal(model.weight.detach(), first)


def test_the_mask_applies_in_between_only(pair: Pair) -> None:
    model, a, b = pair
    name = "conv.weight"
    mask = {name: (torch.arange(a[name].numel()) % 2).view(a[name].shape).to(torch.uint8)}
    line = Interpolation(model, a, b, mask=mask)
    line.write(0.5)
    assert not model.state_dict()[name][mask[name] == 0].any()
    line.write(1.0)
    assert torch.equal(model.state_dict()[name], b[name])


def test_the_denser_mask_applies_between_two() -> None:
    dense, sparse = {"w": torch.tensor([1, 1, 0])}, {"w": torch.tensor([0, 0, 1])}
    assert midpoint_mask(dense, sparse) is dense
    assert midpoint_mask(sparse, dense) is dense
    assert midpoint_mask(None, dense) is None
    other = {"w": torch.tensor([0, 1, 1])}
    for union in (midpoint_mask(dense, other), midpoint_mask(other, dense)):
        assert union is not None
        assert union["w"].tolist() == [1, 1, 1]


def test_another_shape_is_refused_by_the_first_tensor_that_differs(pair: Pair) -> None:
    model, a, b = pair
    b["blocks.1.conv1.weight"] = torch.zeros(1)
    b["fc.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"'blocks.1.conv1.weight' is \(8, 4, 3, 3\) in the network and \(1,\) in b"):
        Interpolation(model, a, b)


def test_a_missing_and_a_superfluous_tensor_are_named(pair: Pair) -> None:
    model, a, b = pair
    with pytest.raises(UserError, match=r"'extra' is missing in the network"):
        Interpolation(model, {**a, "extra": torch.zeros(1)}, b)
    del b["bn.bias"]
    with pytest.raises(UserError, match=r"'bn.bias' .* missing in b"):
        Interpolation(model, a, b)


def test_weights_that_are_not_finite_are_refused_by_name(pair: Pair) -> None:
    model, a, b = pair
    b["fc.bias"][1] = float("nan")
    with pytest.raises(UserError, match=r"1 of the 5 values of the tensor 'fc\.bias' of b"):
        Interpolation(model, a, b)


def test_a_mask_of_another_network_is_refused_by_name(pair: Pair) -> None:
    model, a, b = pair
    with pytest.raises(UserError, match=r"mask of 'conv\.weight'"):
        Interpolation(model, a, b, mask={"conv.weight": torch.ones(2)})
    with pytest.raises(UserError, match=r"'w' is missing in mask b|'w' is .* in mask a"):
        midpoint_mask({"w": torch.ones(2)}, {"v": torch.ones(2)})
