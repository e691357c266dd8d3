import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ticketdiet.core.errors import UnknownName, UserError
from ticketdiet.core.values import Images
from ticketdiet.tickets.masks import apply_mask, count_kept, dense_mask, layer_densities
from ticketdiet.tickets.pruning import layerwise_cut, prune
from ticketdiet.tickets.pruning_criteria import (
    PRUNING_CRITERIA,
    Gradient,
    PruningCriterion,
    PruningSubject,
    prune_by,
)
from ticketdiet.tickets.search import find_ticket
from ticketdiet.training.recipe import Recipe

NAMES = ("gradient", "layerwise_magnitude", "magnitude", "movement", "n_of_m", "random")
RECIPE = Recipe(steps=12, batch_size=8, crop_padding=0)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (30,), generator=generator)
    return Images(pixels, labels, tuple("abcd"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.fixture
def subject(make_model, images):
    """A network under a mask with a quarter removed, and another as its rewinding point."""
    model, point = make_model(1), make_model(2).state_dict()
    mask = prune(model.state_dict(), dense_mask(model), 0.25)
    model.load_state_dict(apply_mask(model.state_dict(), mask))
    return PruningSubject(model, copy.deepcopy(model.state_dict()), point, mask, images, seed=4)


def lowest_go(scores, mask, fraction):
    """Exact pruning from its definition, in numpy."""
    table = sorted(
        (float(scores[name].flatten()[place]), name, place)
        for name, kept in mask.items()
        for place in np.flatnonzero(kept.numpy().ravel())
    )
    new = {name: kept.numpy().copy() for name, kept in mask.items()}
    for _, name, place in table[: int(np.ceil(fraction * len(table)))]:
        new[name].flat[place] = 0
    return new


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_criteria_are_known_by_name():
    assert tuple(PRUNING_CRITERIA.names()) == NAMES
    assert PRUNING_CRITERIA.group == "ticketdiet.pruning_criteria"
    assert [name for name in NAMES if PRUNING_CRITERIA.get(name).needs_images] == ["gradient"]


@pytest.mark.parametrize("rule", ["exact", "threshold"])
def test_magnitude_is_plain_pruning(subject, rule):
    assert same(prune_by("magnitude", subject, 0.3, rule), prune(subject.weights, subject.mask, 0.3, rule))


def test_movement_removes_what_grew_least_since_the_point(subject):
    grown = {name: subject.weights[name].abs() - subject.point_weights[name].abs() for name in subject.mask}
    found = prune_by("movement", subject, 0.3)
    assert same(found, lowest_go(grown, subject.mask, 0.3))
    assert not same(found, prune_by("magnitude", subject, 0.3))


def test_gradient_removes_what_changes_the_loss_least(subject, images):
    network = copy.deepcopy(subject.model).train()
    inputs = (images.pixels.float() / 255 - 0.5) / 0.25
    F.cross_entropy(network(inputs), images.labels).backward()
    scores = {name: (network.get_parameter(name) * network.get_parameter(name).grad).abs() for name in subject.mask}
    found = prune_by("gradient", subject, 0.3)
    expected = lowest_go({name: score.detach() for name, score in scores.items()}, subject.mask, 0.3)
    assert sum(int((found[name].numpy() != expected[name]).sum()) for name in found) <= 2  # rounding of near ties


def test_gradient_draws_as_many_images_as_its_option_says_with_the_seed(subject):
    few = Gradient({"images": 5})
    found = few.scores(subject)
    other = few.scores(PruningSubject(subject.model, subject.weights, {}, subject.mask, subject.images, seed=5))
    assert any(not torch.equal(found[name], other[name]) for name in found)
    every, default = Gradient({"images": "all"}).scores(subject), Gradient().scores(subject)  # there are only 30
    assert all(torch.equal(every[name], default[name]) for name in every)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.floats(0.01, 0.99),
    st.integers(0, 2**20),
)
def test_layerwise_cuts_take_the_same_fraction_of_every_layer_and_the_exact_total(sizes, fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = {f"l{number}": torch.randn(size, generator=generator) for number, size in enumerate(sizes)}
    mask = {name: torch.ones_like(value, dtype=torch.uint8) for name, value in scores.items()}
    cut = layerwise_cut(scores, mask, fraction)
    assert sum(sizes) - count_kept(cut) == int(np.ceil(fraction * sum(sizes)))
    for name, kept in cut.items():
        assert abs(len(kept) - int(kept.sum()) - fraction * len(kept)) < 1 + 1e-9
        gone, stays = scores[name][kept == 0], scores[name][kept == 1]
        assert not len(gone) or not len(stays) or gone.max() <= stays.min()


def test_layerwise_magnitude_keeps_all_layers_equally_dense(make_model):
    model = make_model()
    subject = PruningSubject(model, model.state_dict(), model.state_dict(), dense_mask(model))
    assert set(layer_densities(prune_by("layerwise_magnitude", subject, 0.5)).values()) == {0.5}


def test_random_pruning_depends_on_the_seed_alone(subject):
    def found(seed, weights):
        return prune_by("random", PruningSubject(subject.model, weights, {}, subject.mask, seed=seed), 0.5)

    other = {name: value + 1 for name, value in subject.weights.items()}
    assert same(found(1, subject.weights), found(1, other))
    assert not same(found(1, subject.weights), found(2, subject.weights))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", ["exact", "threshold"])
def test_every_criterion_nests_and_leaves_network_and_names_as_they_are(subject, name, rule):
    before = copy.deepcopy(subject.model.state_dict())
    found = prune_by(name, subject, 0.2, rule)
    assert list(found) == list(subject.mask)
    assert all(bool((found[key] <= subject.mask[key]).all()) for key in found)
    assert count_kept(found) < count_kept(subject.mask)
    assert all(torch.equal(before[key], value) for key, value in subject.model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_that_the_mask_leaves_out_stays_dense(subject, name):
    mask = {"0.weight": subject.mask["0.weight"]}
    part = PruningSubject(subject.model, subject.weights, subject.point_weights, mask, subject.images)
    assert list(prune_by(name, part, 0.5)) == ["0.weight"]


@pytest.mark.parametrize("name", NAMES)
def test_a_ticket_is_found_by_every_criterion(make_model, images, name):
    found = find_ticket(make_model(), images, images, recipe=RECIPE, pretrain_steps=3, levels=2, criterion=name)
    assert [count_kept(level.mask) for level in found.levels] == [86, 68, 54]
    assert all((level.weights["0.weight"][level.mask["0.weight"] == 0] == 0).all() for level in found.levels)


@pytest.mark.parametrize("objective", ["rotation", "random_labels"])
def test_a_ticket_is_found_from_a_point_of_another_objective(make_model, images, objective):
    how: dict[str, Any] = {"recipe": RECIPE, "pretrain_steps": 3, "levels": 1}
    found = find_ticket(make_model(), images, images, objective=objective, **how)
    usual = find_ticket(make_model(), images, images, **how)
    assert not torch.equal(found.rewinding_point["0.weight"], usual.rewinding_point["0.weight"])


class Largest(PruningCriterion):
    """The wrong way round."""

    def scores(self, subject):
        return {name: -subject.weights[name].abs() for name in subject.mask}


class Mute(PruningCriterion):
    def scores(self, subject):
        return {}


def test_a_criterion_of_another_package_finds_a_ticket(make_model, images):
    with PRUNING_CRITERIA.temporarily("largest", Largest):
        found = find_ticket(make_model(), images, images, recipe=RECIPE, levels=1, criterion="largest")
    level = found.levels[0]
    removed = [level.weights[name].abs()[found.levels[1].mask[name] == 0] for name in level.mask]
    kept = [level.weights[name].abs()[found.levels[1].mask[name] == 1] for name in level.mask]
    assert torch.cat(removed).min() >= torch.cat(kept).max()


@pytest.mark.parametrize(
    ("criterion", "change", "words"),
    [
        ("gradient", {"images": None}, "pruning criterion needs images"),
        (Mute(), {}, "Mute gave nothing as the scores of '0.weight'"),
        ("movement", {"point_weights": {"0.weight": torch.full((2, 3, 3, 3), torch.nan)}}, "not all finite"),
    ],
)
def test_what_is_missing_or_wrong_is_said(subject, criterion, change, words):
    fields = {name: getattr(subject, name) for name in ("model", "weights", "point_weights", "mask", "images")}
    fields |= (
        change
        if "point_weights" not in change
        else {"point_weights": {**subject.point_weights, **change["point_weights"]}}
    )
    with pytest.raises(UserError, match=words):
        prune_by(criterion, PruningSubject(**fields))


def test_an_unknown_criterion_rule_or_option_is_refused(subject):
    with pytest.raises(UnknownName, match=r"unknown pruning criterion 'magnetude'[\s\S]*did you mean 'magnitude'"):
        prune_by("magnetude", subject)
    with pytest.raises(UnknownName, match="unknown pruning rule"):
        prune_by("magnitude", subject, rule="soft")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="'gradient' has no option 'image'"):
        Gradient({"image": 3})
