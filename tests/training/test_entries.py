"""The entries that an optimiser moves: picking them first gives the numbers of going over everything."""

import pytest
import torch

from ticketdiet.training.entries import AllEntries, KeptEntries
from ticketdiet.training.flat import FlatTensors
from ticketdiet.training.recipe import Recipe


def entries_of(kind, optimiser):
    named = [("a", torch.randn(7, 3, 3, 3)), ("b", torch.randn(301))]
    data = FlatTensors(named)
    data.flat.copy_(torch.linspace(-1, 1, data.flat.numel()))
    mask = (torch.arange(data.flat.numel()) % 5 == 0).float()
    data.flat.mul_(mask)
    return data, mask, kind(data, optimiser.state_names, mask)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_kept_entries_move_as_all_entries_do_to_the_bit(name):
    recipe = Recipe(optimiser=name, weight_decay=1e-2, lr=0.1)
    found = []
    for make in (AllEntries, KeptEntries):
        optimiser = recipe.make_optimiser()
        data, mask, entries = entries_of(make, optimiser)
        for update in range(4):
            gradient = torch.randn(data.flat.shape, generator=torch.Generator().manual_seed(update))
            weights, own = entries.seen(data.flat), entries.gradient(gradient)
            entries.move(optimiser.direction(weights, own, entries.state, update), 0.1)
        assert (data.flat[mask == 0] == 0).all()
        found.append(
            {"weights": data.flat, **{f"{k} {n}": v for k, vs in entries.views().items() for n, v in vs.items()}}
        )
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


@pytest.mark.parametrize(("first", "second"), [(AllEntries, KeptEntries), (KeptEntries, AllEntries)])
def test_the_state_of_one_kind_is_taken_over_by_the_other(first, second):
    optimiser = Recipe(lr=0.1).make_optimiser()
    (_, mask, one), (_, _, other) = entries_of(first, optimiser), entries_of(second, optimiser)
    one.state["momentum"].copy_(torch.randn(one.state["momentum"].shape) * one.seen(mask))
    other.load(one.views())
    for name, view in one.views()["momentum"].items():
        assert torch.equal(other.views()["momentum"][name], view)
