"""Scores over short trainings: replicates, their stack, and what comes with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import DataError, UserError
from ticketdiet.core.seeds import RunSeeds, derive_seed
from ticketdiet.core.values import Images
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.catalog import score_names
from ticketdiet.scores.driver import assemble_scores, score_examples, score_replicate, score_with_model
from ticketdiet.scores.modes import ScoreBatchNorm
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe

from .conftest import make_small_net


@pytest.mark.parametrize("kind", [name for name in score_names() if name not in ("barrier", "file")])
def test_every_score_gives_a_matrix_of_its_images(kind: str, images: Images, recipe: Recipe) -> None:
    scores = score_examples(kind, images, make_small_net, recipe, models=2)
    assert scores.matrix.shape == (1 if kind == "random" else 2, len(images))
    assert scores.matrix.dtype == np.float32
    assert scores.fingerprint == images.fingerprint
    assert scores.kind == kind
    scores.check_belongs_to(images)


def test_replicates_scored_apart_stack_to_the_same_value(images: Images, recipe: Recipe) -> None:
    whole = score_examples("el2n", images, make_small_net, recipe, models=3, steps=8, seed=5)
    rows = [score_replicate("el2n", r, images, make_small_net, recipe, steps=8, seed=5) for r in (2, 0, 1)]
    parts = assemble_scores("el2n", [rows[1], rows[2], rows[0]], images, recipe, steps=8, seed=5)
    assert (whole.matrix == parts.matrix).all()
    assert whole.provenance == parts.provenance
    assert (whole.matrix[0] != whole.matrix[1]).any()


def test_a_replicate_is_a_plain_training_and_a_score(images: Images, recipe: Recipe) -> None:
    seeds = RunSeeds.of(derive_seed(7, "score"), 1)
    model = make_small_net(seeds.initialisation)
    train(model, images, recipe, seeds=seeds, stop_step=6)
    expected = score_with_model("el2n", model, images)
    assert (score_replicate("el2n", 1, images, make_small_net, recipe, steps=6, seed=7) == expected).all()


def test_no_steps_score_the_initial_network(images: Images, recipe: Recipe) -> None:
    seeds = RunSeeds.of(derive_seed(0, "score"), 0)
    expected = score_with_model("grand", make_small_net(seeds.initialisation), images)
    assert (score_replicate("grand", 0, images, make_small_net, recipe, steps=0) == expected).all()


def test_the_recipe_of_a_score_says_what_produced_it(images: Images, recipe: Recipe) -> None:
    options = ScoreOptions(batch_norm="lth_diet", batch_size=32)
    scores = score_examples("el2n", images, make_small_net, recipe, models=1, steps=4, seed=3, options=options)
    facts = scores.provenance
    assert facts["training"] == recipe.identity()
    assert (facts["steps"], facts["seed"], facts["models"]) == (4, 3, 1)
    assert (facts["batch_norm"], facts["batch_size"]) == ("lth_diet", 32)


FORWARD = ("el2n", "grand", "grand_last", "prototype")


@pytest.mark.parametrize("mode", ["recalibrate", "eval", "lth_diet"])
@pytest.mark.parametrize("kind", [name for name in score_names() if name not in FORWARD])
def test_a_batch_norm_mode_without_effect_is_refused_before_any_training(
    kind: str, mode: ScoreBatchNorm, images: Images, recipe: Recipe
) -> None:
    def never(seed: int) -> nn.Module:
        raise AssertionError

    options = ScoreOptions(batch_norm=mode, values=np.zeros(96), path="mine.npy")
    with pytest.raises(DataError, match=rf"batch_norm='{mode}' has no effect on the score '{kind}'"):
        score_examples(kind, images, never, recipe, models=1, options=options)


def test_the_default_mode_is_recorded_only_where_it_has_an_effect(images: Images, recipe: Recipe) -> None:
    modes = {
        kind: score_examples(kind, images, make_small_net, recipe, models=1).provenance.get("batch_norm", "absent")
        for kind in (*FORWARD, "loss", "forgetting", "random")
    }
    assert modes == dict.fromkeys(FORWARD, "recalibrate") | dict.fromkeys(("loss", "forgetting", "random"), "absent")


def test_recorded_scores_watch_the_whole_training(images: Images, recipe: Recipe) -> None:
    with pytest.raises(DataError, match="never visited"):
        score_examples("forgetting", images, make_small_net, recipe, models=1, steps=3)


def test_scoring_twice_gives_the_same_bits_and_touches_no_global_generator(images: Images, recipe: Recipe) -> None:
    state = torch.random.get_rng_state()
    first, second = (score_examples("aum", images, make_small_net, recipe, models=1) for _ in range(2))
    assert (first.matrix == second.matrix).all()
    assert torch.equal(state, torch.random.get_rng_state())


def test_label_noise_scores_as_hard(images: Images) -> None:
    """The point of it all, in miniature: a network that has learnt the rule finds wrong labels hard."""
    recipe = Recipe(steps=60, batch_size=16, lr=0.1, crop_padding=0, flip=False, precision="float32")
    labels = images.labels.clone()
    labels[:8] = (labels[:8] + 2) % 4
    noisy = Images(images.pixels, labels, images.class_names, images.mean, images.std)
    for kind in ("el2n", "aum"):
        scores = score_examples(kind, noisy, make_small_net, recipe, models=2).mean
        assert scores[:8].mean() > scores[8:].mean()


def test_bad_calls_are_refused(images: Images, recipe: Recipe) -> None:
    with pytest.raises(DataError, match="number of models is 0"):
        score_examples("el2n", images, make_small_net, recipe, models=0)
    with pytest.raises(DataError, match="make_model and recipe"):
        score_examples("el2n", images)
    with pytest.raises(UserError, match="steps"):
        score_examples("el2n", images, make_small_net, recipe, models=1, steps=10**6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"make_model": make_small_net(0)},
            r"make_model is a network \(of type SmallNet\)(.|\n)*fresh network from a seed",
        ),
        ({"make_model": "resnet20"}, "make_model is no function"),
        ({"make_model": lambda seed: None}, "make_model returns an object of type NoneType"),
        ({"models": 1.5}, r"number of models is 1\.5"),
        ({"models": "2"}, "number of models is '2'"),
        ({"seed": 1.5}, r"seed=1\.5(.|\n)*an integer"),
        ({"kind": "random", "seed": "0"}, "seed='0'"),
    ],
)
def test_what_makes_no_network_number_or_seed_is_refused(
    images: Images, recipe: Recipe, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        score_examples(**{"kind": "el2n", "images": images, "make_model": make_small_net, "recipe": recipe, **changed})


def test_the_network_may_be_any_module(images: Images, recipe: Recipe) -> None:
    def make(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**31)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.Linear(16, 4))

    assert score_examples("grand", images, make, recipe, models=1).matrix.shape == (1, 96)
