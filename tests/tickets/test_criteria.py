import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.options import BaseOptions
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.tickets.criteria import (
    MASK_CRITERIA,
    Criterion,
    MaskSubject,
    criterion_names,
    erk_mask,
    find_mask,
    magnitude_mask,
    prunable_shapes,
    random_mask,
)
from ticketdiet.tickets.cutting import erk_counts
from ticketdiet.tickets.masks import count_kept, dense_mask, density, layer_densities, prunable_names
from ticketdiet.tickets.pruning import prune

NAMES = ("erk", "magnitude", "random", "snip", "synflow")


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (30,), generator=generator)
    return Images(pixels, labels, tuple("abcd"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def test_the_criteria_are_known_by_name():
    assert criterion_names() == sorted(NAMES)
    assert {name: MASK_CRITERIA.get(name).needs for name in NAMES} == {
        "magnitude": {"trained_weights"},
        "random": set(),
        "erk": set(),
        "snip": {"point_weights", "images"},
        "synflow": {"point_weights"},
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.5, 0.1, 11 / 86])
def test_every_criterion_keeps_exactly_the_density_of_names_that_are_not_ignored(name, share, make_model, images):
    model = make_model()
    subject = MaskSubject(model, share, images=images, ignore=("5.weight",))
    mask = find_mask(name, subject)
    assert count_kept(mask) == round(share * 54)
    assert {key: kept.shape for key, kept in mask.items()} == {"0.weight": (2, 3, 3, 3)}
    assert {kept.dtype for kept in find_mask(name, MaskSubject(model, share, images=images)).values()} == {torch.uint8}


@pytest.mark.parametrize("name", NAMES)
def test_no_criterion_changes_the_network_or_a_generator(name, make_model, images):
    model = make_model().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[3].eval()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    chance, numpy_chance = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    first, second = (find_mask(name, MaskSubject(model, 0.3, images=images)) for _ in range(2))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    assert bool((model[0].weight.grad == 1).all())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(chance, torch.get_rng_state())
    assert numpy_chance == np.random.get_state(legacy=False)["state"]["key"].tolist()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_every_mask_has_the_density_of_an_imp_level_when_asked_for_it(name, make_model, images):
    model = make_model()
    level = prune(model.state_dict(), prune(model.state_dict(), dense_mask(model)))
    mask = find_mask(name, MaskSubject(model, density(level), images=images))
    assert count_kept(mask) == count_kept(level)


def test_magnitude_at_the_density_of_one_pruning_is_that_pruning(make_model):
    weights, names = make_model().state_dict(), prunable_names(make_model())
    pruned = prune(weights, dense_mask(make_model()), 0.8)
    mask = magnitude_mask(weights, density(pruned), names)
    assert all(torch.equal(mask[name], pruned[name]) for name in names)


def test_magnitude_refuses_a_name_without_a_weight(make_model):
    with pytest.raises(UserError, match="no weight 'nope'"):
        magnitude_mask(make_model().state_dict(), 0.5, ["nope"])


@settings(max_examples=25)
@given(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 2**40))
def test_random_masks_of_one_seed_nest_and_count_exactly(one, other, seed):
    shapes = {"a.weight": (9, 7), "b.weight": (4, 3, 3, 3)}
    sparse, dense = (random_mask(shapes, share, seed) for share in sorted((one, other)))
    assert count_kept(sparse) == round(min(one, other) * 171)
    assert all(bool((sparse[name] <= dense[name]).all()) for name in shapes)


def test_random_masks_are_uniform_over_the_network():
    shares = layer_densities(random_mask(prunable_shapes(build_model("resnet20")), 0.3))
    assert {round(share, 1) for name, share in shares.items() if name.startswith("blocks.8")} == {0.3}


@pytest.mark.parametrize("make_mask", [random_mask, erk_mask])
def test_random_masks_differ_by_seed_and_by_layer(make_mask):
    shapes = {"a": (20, 20), "b": (20, 20)}
    one, other = make_mask(shapes, 0.5, 0), make_mask(shapes, 0.5, 1)
    assert not torch.equal(one["a"], other["a"])
    assert not torch.equal(one["a"], one["b"])
    # Two independent halves agree on about half of 400 places.
    assert 150 < int((one["a"] == other["a"]).sum()) < 250


def test_erk_masks_keep_the_counts_of_erk():
    shapes = prunable_shapes(build_model("resnet20"))
    counts = erk_counts(shapes, 0.2)
    assert {name: int(kept.sum()) for name, kept in erk_mask(shapes, 0.2).items()} == counts


def test_an_unknown_criterion_lists_those_known(make_model):
    with pytest.raises(UnknownName, match="erk, magnitude, random, snip, synflow"):
        find_mask("snap", MaskSubject(make_model(), 0.5))


def test_snip_by_name_draws_its_images_with_the_seed_of_the_subject(make_model):
    from ticketdiet.tickets.sensitivity import snip_mask

    generator = torch.Generator().manual_seed(0)
    pixels, labels = torch.randn(90, 3, 8, 8, generator=generator), torch.arange(90) % 4
    images, model = Images(pixels, labels, tuple("abcd")), make_model()
    found = find_mask("snip", MaskSubject(model, 0.3, seed=5, images=images), {"images": 20})
    expected = snip_mask(model, 0.3, images, num_images=20, seed=5)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    others = [
        find_mask("snip", MaskSubject(model, 0.3, seed=s, images=images), {"images": n})
        for s, n in ((6, 20), (5, 80), (5, "all"))
    ]
    assert all(any(not torch.equal(found[name], other[name]) for name in found) for other in others)


@pytest.mark.parametrize("name", ["snip", "synflow"])
def test_what_a_criterion_needs_and_lacks_is_said(name, make_model):
    with pytest.raises(UserError, match="give images="):
        find_mask(name, MaskSubject(make_model(), 0.5))


def test_synflow_needs_no_images_when_the_shape_is_given(make_model, images):
    by_shape = find_mask("synflow", MaskSubject(make_model(), 0.3, input_shape=(3, 8, 8)))
    by_images = find_mask("synflow", MaskSubject(make_model(), 0.3, images=images))
    assert all(torch.equal(by_shape[name], by_images[name]) for name in by_shape)


def test_a_criterion_of_ones_own_only_says_its_scores(make_model):
    class Smallest(MASK_CRITERIA.get("magnitude")):  # type: ignore[misc]
        def scores(self, subject):
            return {name: -score for name, score in super().scores(subject).items()}

    model = make_model()
    smallest = Smallest().mask(MaskSubject(model, 0.25))
    largest = find_mask("magnitude", MaskSubject(model, 0.75))
    assert (count_kept(smallest), count_kept(largest)) == (22, 64)  # of 86
    assert not any(bool((smallest[name] & largest[name]).any()) for name in smallest)


def test_a_criterion_of_another_package_is_found_by_name_with_options_of_its_own(make_model):
    class Stripes(Criterion):
        needs = frozenset()

        class Options(BaseOptions):
            width: int = 1

        def scores(self, subject):
            return {
                name: (torch.arange(torch.Size(shape).numel()) // self.options.width % 2).reshape(shape)
                for name, shape in subject.shapes.items()
            }

    subject = MaskSubject(make_model(), 0.5)
    with MASK_CRITERIA.temporarily("stripes", Stripes):
        mask = find_mask("stripes", subject, {"width": 3})
        assert mask["0.weight"].flatten()[:9].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
        with pytest.raises(UserError, match="mask criterion 'stripes' has no option 'widht'"):
            find_mask("stripes", subject, {"widht": 3})
    assert MASK_CRITERIA.group == "ticketdiet.mask_criteria"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("snip", {"images": 0}, "mask criterion 'snip' got 0 for its option 'images'"),
        ("snip", {"images": "some"}, "got 'some' for its option 'images'"),
        ("synflow", {"rounds": 0}, "got 0 for its option 'rounds'.*greater"),
        ("erk", {"images": 20}, "mask criterion 'erk' has no option 'images'.*no options"),
    ],
)
def test_an_option_that_a_criterion_does_not_take_is_refused(make_model, images, name, options, words):
    with pytest.raises(UserError, match=f"(?s){words}"):
        find_mask(name, MaskSubject(make_model(), 0.5, images=images), options)


def test_rounds_of_synflow_are_an_option(make_model):
    from ticketdiet.tickets.sensitivity import synflow_mask

    model = make_model()
    found = find_mask("synflow", MaskSubject(model, 0.3, input_shape=(3, 8, 8)), {"rounds": 2})
    expected = synflow_mask(model, 0.3, (3, 8, 8), rounds=2)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
