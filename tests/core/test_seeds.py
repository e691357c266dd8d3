import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.seeds import RunSeeds, derive_seed, numpy_generator, torch_generator


def test_a_derived_seed_is_the_upper_63_bits_of_a_sha_256():
    digest = hashlib.sha256(b"int:42\x1fstr:order\x1fint:3\x1fint:1").digest()
    assert derive_seed(42, "order", 3, 1) == int.from_bytes(digest[:8], "big") >> 1


def test_golden_seeds():
    """These numbers decide every number of every study: they must never change."""
    assert derive_seed(0) == 3696793467068528757
    assert derive_seed(42, "order", 3, 1) == 7457299509805377864
    assert RunSeeds.of(0, 0) == RunSeeds(1728469944472361803, 8583472643440827079, 3566871658728687943)
    assert RunSeeds.of(42, 1).child(2) == RunSeeds(3369789923395359178, 1730950682812903424, 120624197334384395)


def test_golden_draws():
    assert numpy_generator(42, "order", 0).permutation(8).tolist() == [0, 1, 5, 7, 4, 6, 2, 3]
    draw = torch.rand(3, generator=torch_generator(42, "initialisation", 0))
    expected = torch.tensor([0.25254499912261963, 0.16708123683929443, 0.8272846937179565])
    torch.testing.assert_close(draw, expected, rtol=0, atol=0)


def test_seeds_that_collide_under_arithmetic_do_not_here():
    assert 42 * (3 + 1) == 84 * (1 + 1)
    assert derive_seed(42, 3) != derive_seed(84, 1)


def test_no_two_of_a_grid_of_seeds_are_equal():
    roles = ("initialisation", "order", "augmentation", "subset", "epoch")
    grid = list(itertools.product(range(60), roles, range(10), range(10)))
    assert len({derive_seed(*point) for point in grid}) == len(grid)


@given(st.integers(), st.lists(st.one_of(st.integers(), st.text()), max_size=4))
def test_a_seed_fits_every_generator(seed, parts):
    derived = derive_seed(seed, *parts)
    assert 0 <= derived < 2**63
    assert torch.Generator().manual_seed(derived).initial_seed() == derived


def test_a_number_and_its_digits_differ():
    assert derive_seed(1, 2) != derive_seed(1, "2")
    assert derive_seed(1, 12) != derive_seed(1, 1, 2)


def test_an_integer_of_numpy_is_an_integer():
    one: Any = np.int64(1)
    two: Any = np.int32(2)
    assert derive_seed(one, two) == derive_seed(1, 2)


def test_a_fraction_is_no_seed():
    with pytest.raises(TypeError):
        derive_seed(1, 0.5)  # type: ignore[arg-type]


def test_generators_touch_no_global_state():
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    torch.rand(2, generator=torch_generator(1, "x"))
    numpy_generator(1, "x").random(2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[1])


def test_replicates_differ_in_every_source_and_sources_differ_from_each_other():
    runs = [RunSeeds.of(7, replicate) for replicate in range(20)]
    assert len({seed for run in runs for seed in (run.initialisation, run.order, run.augmentation)}) == 60


def test_children_share_the_initialisation_and_differ_in_order_and_augmentation():
    parent = RunSeeds.of(7, 0)
    children = [parent.child(number) for number in (1, 2, 3)]
    assert {child.initialisation for child in children} == {parent.initialisation}
    assert len({run.order for run in (parent, *children)}) == 4
    assert len({run.augmentation for run in (parent, *children)}) == 4


@pytest.mark.parametrize("varied", ["order", "augmentation"])
def test_children_can_vary_in_one_source_alone(varied):
    parent = RunSeeds.of(7, 0)
    child = parent.child(1, vary=(varied,))
    differing = {
        name for name in ("initialisation", "order", "augmentation") if vars(child)[name] != vars(parent)[name]
    }
    assert differing == {varied}
    assert vars(child)[varied] == vars(parent.child(1))[varied]
