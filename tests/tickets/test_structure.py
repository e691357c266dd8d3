import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import make
from ticketdiet.models.build import build_model
from ticketdiet.tickets.masks import count_kept, dense_mask
from ticketdiet.tickets.pruning_criteria import PRUNING_CRITERIA, PruningSubject, prune_by
from ticketdiet.tickets.structure import beyond_n_of_m, is_n_of_m


def groups_of(shape, m):
    """Positions of every group, written out: one output, one place of the kernel, ``m`` consecutive inputs."""
    outputs, inputs, *kernel = shape
    for output, *place in itertools.product(range(outputs), *(range(side) for side in kernel)):
        for start in range(0, inputs, m):
            yield [(output, i, *place) for i in range(start, min(start + m, inputs))]


def largest_count(kept, m):
    return max(sum(int(kept[where]) for where in group) for group in groups_of(kept.shape, m))


SHAPES = st.sampled_from([(3, 4), (2, 5), (3, 8, 3, 3), (2, 1, 3, 3), (4, 6, 1, 1), (1, 3)])
STRUCTURES = st.sampled_from([(2, 4), (1, 4), (1, 2), (3, 5)])


@given(SHAPES, STRUCTURES, st.integers(0, 2**20))
def test_the_surplus_of_a_group_is_what_is_not_among_its_n_largest_kept_weights(shape, structure, seed):
    n, m = structure
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(shape, generator=generator)
    kept = (torch.rand(shape, generator=generator) < 0.8).to(torch.uint8)
    expected = np.zeros(shape, dtype=bool)
    for group in groups_of(shape, m):
        here = sorted((where for where in group if kept[where]), key=lambda where: -float(weights[where]))
        for where in here[n:]:
            expected[where] = True
    assert np.array_equal(beyond_n_of_m(weights, kept, n, m).numpy(), expected)


@given(SHAPES, STRUCTURES, st.integers(0, 2**20))
def test_a_mask_is_n_of_m_when_no_group_keeps_more(shape, structure, seed):
    n, m = structure
    kept = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).to(torch.uint8)
    assert is_n_of_m({"layer": kept}, n, m) == (largest_count(kept, m) <= n)


def reference_cut(magnitudes, mask, fraction, n, m):
    """Prune from the definition: all that is beyond N of M in its group first, the smallest of each kind first."""
    table = []
    for name in sorted(mask):
        surplus = set()
        for group in groups_of(mask[name].shape, m):
            here = sorted((w for w in group if mask[name][w]), key=lambda w: -float(magnitudes[name][w]))
            surplus |= set(here[n:])
        for where in zip(*np.nonzero(mask[name].numpy()), strict=True):
            table.append((where not in surplus, float(magnitudes[name][where]), name, where))
    new = {name: kept.clone() for name, kept in mask.items()}
    for _, _, name, where in sorted(table)[: int(np.ceil(fraction * len(table)))]:
        new[name][where] = 0
    return new


def subject_of(model, mask=None):
    return PruningSubject(model, model.state_dict(), model.state_dict(), mask or dense_mask(model))


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 5)])
def test_levels_remove_their_fraction_surplus_first_and_end_in_the_structure(n, m):
    model = build_model("resnet8", width=3, num_classes=3)
    magnitudes = {name: weight.detach().abs() for name, weight in model.named_parameters()}
    criterion, mask = make(PRUNING_CRITERIA, "n_of_m", {"n": n, "m": m}), dense_mask(model)
    for _ in range(6):
        new = prune_by(criterion, subject_of(model, mask), 0.3)
        expected = reference_cut(magnitudes, mask, 0.3, n, m)
        assert all(torch.equal(new[name], expected[name]) for name in mask)
        assert count_kept(mask) - count_kept(new) == int(np.ceil(0.3 * count_kept(mask)))
        mask = new
    assert is_n_of_m(mask, n, m)


def test_half_of_a_network_at_once_is_two_of_four_and_keeps_the_two_largest_of_full_groups():
    model = build_model("lenet_300_100", width=12, in_channels=1, image_size=4, num_classes=4)
    mask = prune_by("n_of_m", subject_of(model), 0.5)
    assert is_n_of_m(mask, 2, 4)
    for name, kept in mask.items():
        weight = model.get_parameter(name).detach().abs()
        for group in groups_of(kept.shape, 4):
            largest = sorted(group, key=lambda where: float(weight[where]))[-2:]
            assert sorted(where for where in group if kept[where]) == sorted(largest)


def test_weights_that_are_not_finite_are_refused():
    model = build_model("lenet_300_100", width=6, in_channels=1, image_size=4)
    broken = {**model.state_dict(), "fc2.weight": torch.full_like(model.get_parameter("fc2.weight"), torch.nan)}
    with pytest.raises(UserError, match=r"'fc2\.weight' are not all finite"):
        prune_by("n_of_m", PruningSubject(model, broken, broken, dense_mask(model)), 0.5)


@pytest.mark.parametrize("options", [{"n": 4, "m": 4}, {"n": 0}, {"m": 1}, {"k": 2}])
def test_options_that_are_no_structure_are_refused(options):
    with pytest.raises(UserError, match="pruning criterion 'n_of_m'"):
        make(PRUNING_CRITERIA, "n_of_m", options)
