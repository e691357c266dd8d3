"""How the stages of scores and subsets are worked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ticketdiet.core.values import Scores
from ticketdiet.data.subsets import choose_subset, random_like
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_replicate
from ticketdiet.scores.given import permute_scores
from ticketdiet.scores.noise import judge_noise_detection
from ticketdiet.studies.bench import Bench, Made, Row, recipe_of
from ticketdiet.studies.stages import Stage


def score_model(bench: Bench, stage: Stage) -> Made:
    """Train one model of a score and score every training example with it."""
    spec = stage.spec
    recipe = recipe_of(stage) if "recipe" in spec else None
    options = ScoreOptions(batch_norm=spec.get("batch_norm"), path=stage.path, column=spec.get("column"))
    row = score_replicate(
        spec["kind"],
        spec["index"],
        bench.train_images(stage),
        (lambda seed: bench.make_model(stage, seed)) if recipe else None,
        recipe,
        steps=spec.get("steps"),
        seed=spec["seed"],
        options=replace(options, precision=recipe.precision) if recipe else options,
        trainer=lambda model, observers, **how: bench.train(stage, model, list(observers), **how),
    )
    return Made({"scores": {"scores": torch.as_tensor(row, dtype=torch.float32)}})


def score(bench: Bench, stage: Stage) -> Made:
    """Stack the rows of all models of a score into its matrix."""
    if stage.spec["kind"] == "barrier":
        rows = [bench.store.tensors(made, "barrier")["train/family"].float() for made in stage.inputs.values()]
    else:
        rows = [bench.store.tensors(stage.inputs[role], "scores")["scores"] for role in sorted(stage.inputs)]
    scores = Scores(torch.stack(rows).numpy(), stage.spec["kind"], stage.spec["data"])
    if stage.spec["permuted"] is not None:
        scores = permute_scores(scores, stage.spec["permuted"])
    made_by = dict(bench.store.manifest(next(iter(stage.inputs.values()))).spec)
    matrix = torch.from_numpy(np.ascontiguousarray(scores.matrix))
    return Made({"scores": {"matrix": matrix}}, _noise_rows(bench, stage, scores), {"made_by": made_by})


def _noise_rows(bench: Bench, stage: Stage, scores: Scores) -> tuple[Row, ...]:
    """Judge the scores as detectors of the wrong labels, where there are any."""
    if stage.spec["label_noise"] is None:
        return ()
    changed = (bench.train_images(stage).labels != bench.images(stage).train.labels).cpu().numpy()
    if not changed.any() or changed.all():
        return ()
    found = judge_noise_detection(scores, changed)
    step = bench.store.manifest(next(iter(stage.inputs.values()))).spec.get("steps")
    metrics = {"noise_auroc": found.auroc, "noise_precision": found.precision}
    return tuple({"step": step, "metric": metric, "split": "train", "value": v} for metric, v in metrics.items())


def subset(bench: Bench, stage: Stage) -> Made:
    """Choose the examples of pre-training."""
    spec, train = stage.spec, bench.images(stage).train
    labels = bench.train_images(stage).labels.cpu().numpy()  # with label noise where class counts depend on it
    if "like" in stage.inputs:
        reference = bench.store.tensors(stage.inputs["like"], "subset")["indices"].numpy()
        return _chosen(random_like(reference, labels, spec["seed"]))
    names = ("kind", "size", "balanced", "seed", "offset", "strata", "mix", "classes", "indices")
    scores: Any = len(labels)
    if "score" in stage.inputs:
        matrix = bench.store.tensors(stage.inputs["score"], "scores")["matrix"].numpy()
        scores = Scores(matrix, "stored", stage.spec["data"])
        scores.check_belongs_to(train)
    return _chosen(choose_subset(scores, labels=labels, **{name: spec[name] for name in names}))


def _chosen(indices: np.ndarray) -> Made:
    return Made({"subset": {"indices": torch.from_numpy(indices)}}, facts={"size": len(indices)})
