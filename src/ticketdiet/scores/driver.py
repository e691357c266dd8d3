"""Computes a score by its name: of one network, of one short training, or of several, stacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
from torch import nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import RunSeeds, derive_seed
from ticketdiet.core.values import Images, Scores
from ticketdiet.data.checks import check_seed, is_integer
from ticketdiet.scores.base import Score, ScoreOptions, Subject, resolve_batch_norm, usable_scores
from ticketdiet.scores.catalog import find_score
from ticketdiet.scores.recorder import TrainingRecorder
from ticketdiet.training.loop import train
from ticketdiet.training.observers import Observer
from ticketdiet.training.recipe import Recipe

MakeModel = Callable[[int], nn.Module]  # seed of the initial weights -> a network on the device to train on

DEFAULT_MODELS = 4


def score_with_model(
    kind: str,
    model: nn.Module | None,
    images: Images,
    *,
    recorder: TrainingRecorder | None = None,
    seed: int = 0,
    options: ScoreOptions | None = None,
) -> np.ndarray:
    """Score every image by one network; nothing is trained or changed.

    Args:
        kind: Name of the score; see ``score_names()``.
        model: A trained classifier; None for scores that need none (``random``, ``barrier``, ``file``).
        images: What to score, un-augmented.
        recorder: What was recorded while ``model`` trained, for scores of training dynamics.
        seed: Seed of what the score draws.
        options: What the score may depend on besides.

    Returns:
        float32 (n,), high means hard, in the order of the images.

    Raises:
        UnknownName: When there is no such score.
        DataError: When something it needs is missing, or it gives NaN or a wrong number of values.
    """
    score = find_score(kind)
    options = _resolved(score, kind, options or ScoreOptions(), recorded=recorder is not None)
    return _checked(score, kind, Subject(images, model, recorder, seed, options))


def score_replicate(
    kind: str,
    replicate: int,
    images: Images,
    make_model: MakeModel | None,
    recipe: Recipe | None,
    *,
    steps: int | None = None,
    seed: int = 0,
    options: ScoreOptions | None = None,
    observers: Sequence[Observer] = (),
    trainer: Callable[..., object] = train,
) -> np.ndarray:
    """Train network number ``replicate`` for a few steps and score every image by it.

    The replicates of ``score_examples`` are exactly these, so that each can run in a process of its own.

    Args:
        kind: Name of the score.
        replicate: Number of the network, from 0; it determines initialisation, order and augmentation.
        images: What to train on and to score.
        make_model: Makes a fresh network from a seed, on the device to train on; None for scores that need none.
        recipe: How to train; None likewise.
        steps: Steps to train, under the recipe's schedule; default all of it. 0 scores the initial network.
        seed: Seed of the whole score.
        options: What the score may depend on besides.
        observers: What else watches the training.
        trainer: Does the training; it takes the arguments of :func:`~ticketdiet.training.loop.train`, by name. Your own
            may save its state and continue from it.

    Returns:
        float32 (n,), high means hard.

    Raises:
        DataError: When ``make_model`` or ``recipe`` is missing, or makes no network; as ``score_with_model`` besides.
        UserError: As ``train``.
    """
    score, options = find_score(kind), options or ScoreOptions()
    options = _resolved(score, kind, options, recorded=score.needs == "training")
    check_seed(seed)
    own_seed = derive_seed(seed, "score", kind, replicate)
    if score.needs == "nothing":
        return _checked(score, kind, Subject(images, seed=own_seed, options=options))
    if make_model is None or recipe is None:
        raise DataError(f"The score {kind!r} trains networks.", expected="make_model and recipe", way_out="give both")
    # The kind is left out, so that scores of different kinds see the same trainings and can be compared pairwise.
    seeds = RunSeeds.of(derive_seed(seed, "score"), replicate)
    model = _make_network(make_model, seeds.initialisation)
    recorder = TrainingRecorder(len(images)) if score.needs == "training" else None
    watching = [*observers, *([recorder] if recorder is not None else [])]
    trainer(model, images=images, recipe=recipe, seeds=seeds, stop_step=steps, observers=watching)
    return _checked(score, kind, Subject(images, model, recorder, own_seed, options))


def score_examples(
    kind: str,
    images: Images,
    make_model: MakeModel | None = None,
    recipe: Recipe | None = None,
    *,
    models: int = DEFAULT_MODELS,
    steps: int | None = None,
    seed: int = 0,
    options: ScoreOptions | None = None,
) -> Scores:
    """Score every image by several independent short trainings.

    Args:
        kind: Name of the score; see ``score_names()``.
        images: What to train on and to score.
        make_model: Makes a fresh network from a seed, on the device to train on. ``random``, ``barrier`` and ``file``
            need none.
        recipe: How to train, likewise.
        models: Number of networks (the paper: 10 to 16). Scores that need no network have one row.
        steps: Steps to train each; default all of the recipe.
        seed: Seed of the whole score.
        options: What the score may depend on besides.

    Returns:
        The matrix (models, n) with the fingerprint of the images and what produced it.

    Raises:
        DataError: For fewer than one model, a BatchNorm mode without effect, and as ``score_replicate``.
        UserError: As ``score_replicate``.
    """
    if not is_integer(models) or models < 1:
        raise DataError(
            f"The number of models is {models!r}.",
            expected="an integer of at least 1",
            way_out="the paper averages 10 to 16 networks",
        )
    rows = models if find_score(kind).needs != "nothing" else 1
    matrix = [
        score_replicate(kind, number, images, make_model, recipe, steps=steps, seed=seed, options=options)
        for number in range(rows)
    ]
    return assemble_scores(kind, matrix, images, recipe, steps=steps, seed=seed, options=options)


def assemble_scores(
    kind: str,
    rows: Sequence[np.ndarray],
    images: Images,
    recipe: Recipe | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    options: ScoreOptions | None = None,
) -> Scores:
    """Stack what ``score_replicate`` gave into one value, as ``score_examples`` does.

    Args:
        kind: Name of the score.
        rows: float32 (n,) each, replicate 0 first.
        images: The images they are scores of.
        recipe: How the networks were trained; this and the rest go into ``Scores.provenance``.
        steps: As given to ``score_replicate``.
        seed: As given to ``score_replicate``.
        options: As given to ``score_replicate``.

    Returns:
        The matrix (models, n) with the fingerprint of the images and what produced it.
    """
    score = find_score(kind)
    chosen = asdict(_resolved(score, kind, options or ScoreOptions(), recorded=score.needs == "training"))
    del chosen["values"]
    if chosen["batch_norm"] is None:
        del chosen["batch_norm"]
    facts: dict[str, object] = {"seed": seed, "models": len(rows), **chosen}
    if recipe is not None:
        facts |= {"training": recipe.identity(), "steps": recipe.steps if steps is None else steps}
    return Scores(np.stack([*rows]).astype(np.float32), kind, images.fingerprint, facts)


def _make_network(make_model: object, seed: int) -> nn.Module:
    way_out = "write def make_model(seed): that builds a fresh network, or lambda seed: build_model(..., seed=seed)"
    expected = "a function that makes a fresh network from a seed"
    if isinstance(make_model, nn.Module) or not callable(make_model):
        what = "a network" if isinstance(make_model, nn.Module) else "no function"
        came = f"make_model is {what} (of type {type(make_model).__name__})."
        raise DataError(came, expected=expected, way_out=way_out)
    model = make_model(seed)
    if not isinstance(model, nn.Module):
        raise DataError(
            f"make_model returns an object of type {type(model).__name__}.", expected=expected, way_out=way_out
        )
    return model


def _resolved(score: Score, kind: str, options: ScoreOptions, *, recorded: bool) -> ScoreOptions:
    """Return the options with the BatchNorm mode that is used written out; None where it has no effect."""
    return replace(options, batch_norm=resolve_batch_norm(score, kind, options.batch_norm, recorded=recorded))


def _checked(score: Score, kind: str, subject: Subject) -> np.ndarray:
    values = score.score(subject)
    return usable_scores(
        values, len(subject.images), source=f"The score {kind!r}", may_be_infinite=score.may_be_infinite
    )
