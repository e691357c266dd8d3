"""How the stages that train are worked: pre-training, levels, their controls, children."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.studies.bench import Bench, Made, recipe_of, rows_of
from ticketdiet.studies.stages import Stage
from ticketdiet.tickets.masks import count_kept, dense_mask, density, empty_layers, layer_densities
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import Trained
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, Observer
from ticketdiet.training.recipe import Recipe


def pretrain(bench: Bench, stage: Stage) -> Made:
    """Train dense for k steps on the subset: the rewinding point."""
    spec, steps, examples = stage.spec, stage.spec["steps"], bench.indices(stage)
    recipe = recipe_of(stage) if steps else Recipe(steps=1, batch_size=1)
    train = bench.train_images(stage)
    trained = bench.train(
        stage,
        bench.build(stage),
        _pretrain_evaluations(bench, stage, recipe, examples),
        images=train,
        recipe=recipe,
        seeds=RunSeeds.of(spec["seed"], spec["replicate"]),
        stop_step=steps,
        examples=examples,
    )
    unique = min(trained.examples_seen, len(train) if examples is None else len(examples))
    facts = {"examples_seen": trained.examples_seen, "unique_examples": unique, **_noise_facts(bench, stage)}
    return Made({"weights": trained.weights}, rows_of(trained.trace), facts)


def _pretrain_evaluations(bench: Bench, stage: Stage, recipe: Recipe, examples: np.ndarray | None) -> list[Observer]:
    """All splits, and the subset and the rest of the training images, every so often and at the end."""
    splits, steps, every = bench.splits(stage), stage.spec["steps"], stage.spec.get("evaluate_every", 0)
    if examples is not None:
        rest = np.setdiff1d(np.arange(len(splits["train"])), examples)
        parts = {"subset": examples, "rest": rest}
        splits |= {name: splits["train"].take(part) for name, part in parts.items() if len(part)}
    at = {*range(0, steps, every), steps} if every else {steps}
    return [BatchLossObserver(), EvaluationObserver(splits, at, recipe.precision)]


def _noise_facts(bench: Bench, stage: Stage) -> dict[str, int]:
    if stage.spec.get("label_noise") is None:
        return {}
    changed = bench.train_images(stage).labels != bench.images(stage).train.labels
    return {"labels_changed": int(changed.sum())}


def level(bench: Bench, stage: Stage) -> Made:
    """Prune the level before, rewind, train: sparse training at this density and mask search for the next."""
    model = bench.build(stage)
    mask = _next_mask(bench, stage, model)
    seeds = RunSeeds.of(stage.spec["seed"], stage.spec["replicate"])
    trained = _train_from_point(bench, stage, model, mask, seeds, every=stage.spec["evaluate_every"])
    facts = {
        "density": density(mask),
        "kept": count_kept(mask),
        "layer_densities": layer_densities(mask),
        "examples_seen": trained.examples_seen,
    }
    warnings = tuple(f"{stage.label}: every weight of layer {name} is pruned" for name in empty_layers(mask))
    return Made({"weights": trained.weights, "mask": mask}, rows_of(trained.trace), facts, warnings)


def _next_mask(bench: Bench, stage: Stage, model: nn.Module) -> dict[str, Tensor]:
    if "previous" not in stage.inputs:
        return dense_mask(model, stage.spec["ignore"])
    weights = bench.store.tensors(stage.inputs["previous"], "weights")
    mask = bench.store.tensors(stage.inputs["previous"], "mask")
    return prune(weights, mask, stage.spec["fraction"], stage.spec["rule"])


def child(bench: Bench, stage: Stage) -> Made:
    """Train once more from the rewinding point, dense or under a level's mask, with SGD noise of its own."""
    spec = stage.spec
    mask = bench.store.tensors(stage.inputs["level"], "mask") if "level" in stage.inputs else None
    seeds = RunSeeds.of(spec["seed"], spec["replicate"]).child(spec["child"], tuple(spec["vary"]))
    trained = _train_from_point(bench, stage, bench.build(stage), mask, seeds, every=0)
    facts = {"density": density(mask) if mask else 1.0, "examples_seen": trained.examples_seen}
    rows = tuple({**row, "pair": f"child{spec['child']}"} for row in rows_of(trained.trace))
    return Made({"weights": trained.weights}, rows, facts)


def _train_from_point(
    bench: Bench, stage: Stage, model: nn.Module, mask: dict[str, Tensor] | None, seeds: RunSeeds, *, every: int
) -> Trained:
    recipe, start = recipe_of(stage), stage.spec["start_step"]
    rewind(model, bench.store.tensors(stage.inputs["point"], "weights"), mask)
    observers = _evaluations(bench, stage, recipe, every=every, start=start, stop=recipe.steps)
    return bench.train(
        stage,
        model,
        observers,
        images=bench.train_images(stage),
        recipe=recipe,
        seeds=seeds,
        start_step=start,
        mask=mask,
    )


def _evaluations(bench: Bench, stage: Stage, recipe: Recipe, *, every: int, start: int, stop: int) -> list[Observer]:
    """All splits at the end; what is held out every so often before."""
    along = range(start - start % every + every, stop, every) if every else ()
    return [
        BatchLossObserver(),
        EvaluationObserver(bench.splits(stage, train=False), tuple(along), recipe.precision),
        EvaluationObserver(bench.splits(stage), (stop,), recipe.precision),
    ]
