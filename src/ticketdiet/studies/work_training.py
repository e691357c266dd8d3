"""How the stages that train are worked: pre-training, levels, their controls, children."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from torch import Tensor, nn

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.data.parts import subset_splits
from ticketdiet.scores.agreement import gradient_agreement
from ticketdiet.studies.bench import Bench, Made, Row, recipe_of, rows_of
from ticketdiet.studies.stages import Stage
from ticketdiet.tickets.controls import reinitialised, shuffled_mask, sign_only
from ticketdiet.tickets.criteria import MASK_CRITERIA, MaskSubject, find_mask
from ticketdiet.tickets.masks import count_kept, dense_mask, density, empty_layers, layer_densities
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.restarts import Restart, restart
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.batch_norm import recalibrated
from ticketdiet.training.loop import Trained
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, Observer
from ticketdiet.training.pretext import (
    ROTATIONS,
    RotationBatches,
    head_name,
    pretext_weights,
    rotated_images,
    with_head,
)
from ticketdiet.training.recipe import Recipe


def pretrain(bench: Bench, stage: Stage) -> Made:
    """Train dense for k steps on the subset: the rewinding point."""
    spec, steps, examples = stage.spec, stage.spec["steps"], bench.indices(stage)
    recipe = _recipe_of_point(stage)
    train, model = bench.train_images(stage), bench.build(stage)
    how: dict[str, Any] = {"images": train, "recipe": recipe, "seeds": _seeds(stage), "stop_step": steps}
    if spec.get("objective") == "rotation":
        trained, weights = _pretrain_on_turns(bench, stage, model, examples, how)
    else:
        observers = _pretrain_evaluations(bench, stage, recipe, examples)
        trained = bench.train(stage, model, observers, examples=examples, **how)
        weights = trained.weights
    facts = {**_shown(trained), **_noise_facts(bench, stage)}
    rows = rows_of(trained.trace) + _recalibrated_rows(bench, stage, weights, recipe)
    rows += _agreement_rows(bench, stage, weights, recipe, examples)
    return Made({"weights": weights}, rows, facts)


def _recipe_of_point(stage: Stage) -> Recipe:
    """The recipe of a pre-training; without one, of no step in the precision and batches of the training to come."""
    spec = stage.spec
    if spec["steps"]:
        return recipe_of(stage)
    return Recipe(steps=1, batch_size=spec.get("batch_size", 1), precision=spec["precision"])


def _shown(trained: Trained) -> dict[str, int | str | None]:
    return {
        "examples_seen": trained.examples_seen,
        "unique_examples": trained.unique_examples,
        "kernels": trained.kernels,
    }


def _recalibrated_rows(bench: Bench, stage: Stage, weights: Mapping[str, Tensor], recipe: Recipe) -> tuple[Row, ...]:
    """Evaluate the point with BatchNorm's running statistics measured anew: after a few steps they lag far behind."""
    if stage.spec.get("objective") == "rotation" or stage.spec.get("evaluate_every"):
        return ()  # its head has seen no labels, or all was evaluated so on the way
    model, splits, steps = bench.build(stage), bench.splits(stage), stage.spec["steps"]
    rewind(model, weights)
    observer = _recalibrated(splits, {steps}, recipe)
    observer.look(steps, model)
    return rows_of(observer.rows())


def _recalibrated(splits: Mapping[str, Images], steps: Collection[int], recipe: Recipe) -> EvaluationObserver:
    def within(model: nn.Module) -> AbstractContextManager[object]:
        return recalibrated(model, splits["train"], precision=recipe.precision)

    return EvaluationObserver(splits, steps, recipe.precision, within=within, suffix="_recalibrated")


def _agreement_rows(
    bench: Bench, stage: Stage, weights: Mapping[str, Tensor], recipe: Recipe, examples: np.ndarray | None
) -> tuple[Row, ...]:
    """Compare how well batches of all data and of the subset agree on the gradient at the point."""
    if not stage.spec["gradient_agreement"]:
        return ()
    train, model = bench.train_images(stage), bench.build(stage)
    rewind(model, weights)
    subsets = {"all": np.arange(len(train))} | ({"subset": examples} if examples is not None else {})
    batch_size = min(recipe.batch_size, min(map(len, subsets.values())) // 2)  # two batches have to be disjoint
    found = gradient_agreement(
        model, train, subsets, batch_size=batch_size, precision=recipe.precision, seed=stage.spec["seed"]
    )
    step = stage.spec["steps"]
    return tuple(
        {"step": step, "metric": "gradient_cosine", "split": one.name, "value": one.mean_cosine} for one in found
    )


def _pretrain_on_turns(
    bench: Bench, stage: Stage, model: nn.Module, examples: np.ndarray | None, how: dict[str, Any]
) -> tuple[Trained, Mapping[str, Tensor]]:
    """Train body and a head of four turns; the point is that body under the head that the network began with."""
    seeds, initial = how["seeds"], {name: value.clone() for name, value in model.state_dict().items()}
    turning = with_head(model, ROTATIONS, seeds.initialisation)
    splits = {f"{name}_turned": rotated_images(images) for name, images in bench.splits(stage).items()}
    observers: list[Observer] = [EvaluationObserver(splits, _evaluated_at(stage), how["recipe"].precision)]
    batches = RotationBatches(how["images"], how["recipe"], seeds, examples)
    trained = bench.train(stage, turning, observers, batches=batches, **how)
    on_cpu = {name: value.cpu() for name, value in initial.items()}
    return trained, pretext_weights(trained.weights, on_cpu, head_name(model))


def _seeds(stage: Stage) -> RunSeeds:
    return RunSeeds.of(stage.spec["seed"], stage.spec["replicate"])


def _pretrain_evaluations(bench: Bench, stage: Stage, recipe: Recipe, examples: np.ndarray | None) -> list[Observer]:
    """All splits, and the subset and the rest of the training images, every so often and at the end."""
    splits, at = bench.splits(stage), _evaluated_at(stage)
    if examples is not None:
        splits |= subset_splits(splits["train"], examples)
    observers: list[Observer] = [BatchLossObserver(), EvaluationObserver(splits, at, recipe.precision)]
    return [*observers, _recalibrated(splits, at, recipe)] if stage.spec.get("evaluate_every") else observers


def _evaluated_at(stage: Stage) -> set[int]:
    steps, every = stage.spec["steps"], stage.spec.get("evaluate_every", 0)
    return {*range(0, steps, every), steps} if every else {steps}


def _noise_facts(bench: Bench, stage: Stage) -> dict[str, int]:
    if stage.spec.get("label_noise") is None:
        return {}
    changed = bench.train_images(stage).labels != bench.images(stage).train.labels
    return {"labels_changed": int(changed.sum())}


def level(bench: Bench, stage: Stage) -> Made:
    """Prune the level before, rewind, train: sparse training at this density and mask search for the next."""
    spec, model = stage.spec, bench.build(stage)
    previous = bench.store.tensors(stage.inputs["previous"], "weights") if "previous" in stage.inputs else None
    mask = _next_mask(bench, stage, model, previous)
    point = bench.store.tensors(stage.inputs["point"], "weights")
    policy, k, lr = spec.get("restart", "weights"), spec["start_step"], spec.get("fine_tune_lr")
    options = None if lr is None else {"lr": lr}
    start = restart(policy, point, previous, mask, recipe_of(stage), k, options=options)
    return _sparse(bench, stage, model, mask, start)


def control(bench: Bench, stage: Stage) -> Made:
    """Train sparse under another mask than the search found, from other weights than the point's, or both."""
    spec, store = stage.spec, bench.store
    model, point = bench.build(stage), store.tensors(stage.inputs["point"], "weights")
    mask = _control_mask(bench, stage, model, point)
    if spec["weights"] == "reinitialised":
        point = reinitialised(lambda seed: bench.make_model(stage, seed), spec["control_seed"], mask)
    elif spec["weights"] == "sign_only":
        initial = bench.build(stage).state_dict()  # anew: choosing the mask may have loaded other weights
        point = sign_only(point, {name: value.cpu() for name, value in initial.items()}, mask)
    return _sparse(bench, stage, model, mask, Restart(point, spec["start_step"], recipe_of(stage)))


def _control_mask(bench: Bench, stage: Stage, model: nn.Module, point: Mapping[str, Tensor]) -> dict[str, Tensor]:
    spec, store = stage.spec, bench.store
    if spec["mask"] in ("imp", "shuffled"):
        found = store.tensors(stage.inputs["level"], "mask")
        return found if spec["mask"] == "imp" else shuffled_mask(found, spec["control_seed"])
    needs = MASK_CRITERIA.get(spec["mask"]).needs
    judged = store.tensors(stage.inputs["level"], "weights") if "trained_weights" in needs else point
    rewind(model, judged)
    total = sum(kept.numel() for kept in dense_mask(model, spec["ignore"]).values())
    subject = MaskSubject(
        model,
        spec["kept"] / total,
        seed=spec["control_seed"],
        images=bench.train_images(stage),
        ignore=tuple(spec["ignore"]),
    )
    return find_mask(spec["mask"], subject, {"images": spec["snip_images"]} if spec["mask"] == "snip" else None)


def _sparse(bench: Bench, stage: Stage, model: nn.Module, mask: dict[str, Tensor], start: Restart) -> Made:
    """Train under ``mask`` from ``start``, and say how dense that is."""
    rewind(model, start.weights, mask)
    every = stage.spec["evaluate_every"]
    trained = _train(bench, stage, model, mask, _seeds(stage), start.recipe, every=every)
    facts = {
        "density": density(mask),
        "kept": count_kept(mask),
        "layer_densities": layer_densities(mask),
        **_shown(trained),
        **_noise_facts(bench, stage),
    }
    warnings = tuple(f"{stage.label}: every weight of layer {name} is pruned" for name in empty_layers(mask))
    return Made({"weights": trained.weights, "mask": mask}, rows_of(trained.trace), facts, warnings)


def _next_mask(bench: Bench, stage: Stage, model: nn.Module, previous: dict[str, Tensor] | None) -> dict[str, Tensor]:
    if previous is None:
        return dense_mask(model, stage.spec["ignore"])
    mask = bench.store.tensors(stage.inputs["previous"], "mask")
    return prune(previous, mask, stage.spec["fraction"], stage.spec["rule"])


def child(bench: Bench, stage: Stage) -> Made:
    """Train once more from the rewinding point, dense or under a level's mask, with SGD noise of its own."""
    spec, model = stage.spec, bench.build(stage)
    mask = bench.store.tensors(stage.inputs["level"], "mask") if "level" in stage.inputs else None
    rewind(model, bench.store.tensors(stage.inputs["point"], "weights"), mask)
    seeds = _seeds(stage).child(spec["child"], tuple(spec["vary"]))
    trained = _train(bench, stage, model, mask, seeds, recipe_of(stage), every=0)
    facts = {"density": density(mask) if mask else 1.0, **_shown(trained)}
    rows = tuple({**row, "pair": f"child{spec['child']}"} for row in rows_of(trained.trace))
    return Made({"weights": trained.weights}, rows, facts)


def _train(
    bench: Bench,
    stage: Stage,
    model: nn.Module,
    mask: dict[str, Tensor] | None,
    seeds: RunSeeds,
    recipe: Recipe,
    *,
    every: int,
) -> Trained:
    start = stage.spec["start_step"]
    return bench.train(
        stage,
        model,
        _evaluations(bench, stage, recipe, every=every, start=start, stop=recipe.steps),
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
