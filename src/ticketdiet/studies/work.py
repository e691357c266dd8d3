"""How each kind of stage is worked: read inputs by address, call the science, keep the result. One function a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Scores
from ticketdiet.data.subsets import choose_subset
from ticketdiet.landscape.barrier import PairBarrier, measure_pairs
from ticketdiet.landscape.family import Family, PairSummary
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_replicate
from ticketdiet.scores.given import permute_scores
from ticketdiet.store.provenance import describe_run
from ticketdiet.studies.bench import Bench, Made, Row, recipe_of, rows_of
from ticketdiet.studies.stages import Stage
from ticketdiet.tickets.masks import count_kept, dense_mask, density, empty_layers, layer_densities
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import Trained
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, Observer, ProgressObserver
from ticketdiet.training.recipe import Recipe


def perform(bench: Bench, stage: Stage) -> tuple[str, ...]:
    """Work ``stage`` and keep its result; returns warnings for the user. A kept result is not made again."""
    if bench.store.has(stage.address):
        return ()
    started = datetime.now(UTC)
    made = WORKERS[stage.kind](bench, stage)
    bench.store.write(
        stage.address,
        kind=stage.kind,
        spec=stage.spec,
        inputs=stage.inputs,
        tensors=made.tensors,
        documents={"rows": [dict(row) for row in made.rows], "facts": dict(made.facts)},
        provenance=describe_run(started, device=str(bench.device)),
    )
    return made.warnings


def score_model(bench: Bench, stage: Stage) -> Made:
    """Train one model of a score and score every training example with it."""
    spec = stage.spec
    recipe = recipe_of(stage) if "recipe" in spec else None
    options = ScoreOptions(batch_norm=spec["batch_norm"], path=stage.path, column=spec.get("column"))
    row = score_replicate(
        spec["kind"],
        spec["index"],
        bench.images(stage).train,
        (lambda seed: bench.make_model(stage, seed)) if recipe else None,
        recipe,
        steps=spec.get("steps"),
        seed=spec["seed"],
        options=replace(options, precision=recipe.precision) if recipe else options,
        observers=(ProgressObserver(lambda step: bench.report(stage, step)),),
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
    return Made({"scores": {"matrix": torch.from_numpy(np.ascontiguousarray(scores.matrix))}})


def subset(bench: Bench, stage: Stage) -> Made:
    """Choose the examples of pre-training."""
    spec, train = stage.spec, bench.images(stage).train
    labels = train.labels.cpu().numpy()
    options = {key: spec[key] for key in ("kind", "size", "balanced", "seed", "offset", "classes")}
    options |= {"mix": spec["mix"]} if spec["mix"] is not None else {}
    scores: Any = len(labels)
    if "score" in stage.inputs:
        matrix = bench.store.tensors(stage.inputs["score"], "scores")["matrix"].numpy()
        scores = Scores(matrix, "stored", stage.spec["data"])
        scores.check_belongs_to(train)
    indices = choose_subset(scores, labels=labels, **options)
    return Made({"subset": {"indices": torch.from_numpy(indices)}}, facts={"size": len(indices)})


def pretrain(bench: Bench, stage: Stage) -> Made:
    """Train dense for k steps on the subset: the rewinding point."""
    spec, steps, examples = stage.spec, stage.spec["steps"], bench.indices(stage)
    recipe = recipe_of(stage) if steps else Recipe(steps=1, batch_size=1)
    train = bench.images(stage).train
    trained = bench.train(
        stage,
        bench.build(stage),
        _evaluations(bench, stage, recipe, every=0, start=0, stop=steps),
        images=train,
        recipe=recipe,
        seeds=RunSeeds.of(spec["seed"], spec["replicate"]),
        stop_step=steps,
        examples=examples,
    )
    unique = min(trained.examples_seen, len(train) if examples is None else len(examples))
    facts = {"examples_seen": trained.examples_seen, "unique_examples": unique}
    return Made({"weights": trained.weights}, rows_of(trained.trace), facts)


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
        images=bench.images(stage).train,
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


def barrier(bench: Bench, stage: Stage) -> Made:
    """Measure the barriers of all pairs of networks, on the un-augmented train and the test images."""
    spec, store = stage.spec, bench.store
    networks = {role: store.tensors(address, "weights") for role, address in stage.inputs.items()}
    masks = {role: store.tensors(made, "mask") for role, made in stage.inputs.items() if not spec["family"]}
    rows: list[Row] = []
    arrays: dict[str, Tensor] = {}
    model = bench.make_model(stage, 0)
    for split, images in bench.splits(stage).items():
        pairs = measure_pairs(
            model,
            networks,
            images,
            spec["alphas"],
            spec["batch_norm"],
            masks=masks or None,
            precision=spec["precision"],
        )
        summaries = list(_keep_arrays(pairs, split, arrays))
        family = Family(tuple(summaries), (), spec["batch_norm"])
        named = {f"{pair.a}-{pair.b}": pair for pair in summaries} | ({"family": family} if spec["family"] else {})
        for name, found in named.items():
            rows.extend(_barrier_rows(found, name, split, spec["tolerance"], spec["step"]))
        arrays[f"{split}/family"] = family.per_example
    pair_names = [f"{pair.a}-{pair.b}" for pair in summaries]
    return Made(
        {"barrier": arrays}, tuple(rows), {"pairs": pair_names, "alphas": _points(arrays), **_density(bench, stage)}
    )


def _keep_arrays(pairs: Iterator[PairBarrier], split: str, arrays: dict[str, Tensor]) -> Iterator[PairSummary]:
    """Keep what figures need of each pair: barriers by example, mean loss and error along the line."""
    for pair in pairs:
        found, name = pair.barrier, f"{split}/{pair.a}-{pair.b}"
        arrays[f"{name}/per_example"] = found.per_example.float()
        arrays[f"{name}/loss"] = found.losses.double().mean(1)
        arrays[f"{name}/error"] = 1 - found.correct.double().mean(1)
        arrays["alphas"] = torch.tensor(found.alphas, dtype=torch.float64)
        yield PairSummary.of(pair)


def _barrier_rows(found: PairSummary | Family, name: str, split: str, tolerance: float, step: int) -> Iterator[Row]:
    values = {
        "barrier_mean": found.mean,
        "barrier_max": found.max,
        "error_barrier": found.error_barrier,
        "connected_share": found.connected_share(tolerance),
    }
    for metric, value in values.items():
        yield {"step": step, "metric": metric, "split": split, "value": value, "pair": name, "tolerance": tolerance}


def _points(arrays: Mapping[str, Tensor]) -> list[float]:
    points: list[float] = arrays["alphas"].tolist()
    return points


def _density(bench: Bench, stage: Stage) -> dict[str, float]:
    levels = [address for role, address in stage.inputs.items() if role == "parent" or role.startswith("level")]
    found: float = bench.store.document(levels[-1], "facts")["density"]
    return {"density": found}


WORKERS: Mapping[str, Callable[[Bench, Stage], Made]] = {
    "score_model": score_model,
    "score": score,
    "subset": subset,
    "pretrain": pretrain,
    "level": level,
    "child": child,
    "barrier": barrier,
}
