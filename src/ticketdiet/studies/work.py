"""How each kind of stage is worked: read inputs by address, call the science, keep the result. One function a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.images import load_images
from ticketdiet.data.subsets import choose_subset
from ticketdiet.models.build import build_model
from ticketdiet.scores.base import ScoreOptions
from ticketdiet.scores.driver import score_replicate
from ticketdiet.store.provenance import describe_run
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.spec import DatasetSpec
from ticketdiet.studies.stages import Stage
from ticketdiet.tickets.masks import count_kept, dense_mask, density, empty_layers, layer_densities
from ticketdiet.tickets.pruning import prune
from ticketdiet.tickets.rewinding import rewind
from ticketdiet.training.loop import DivergedAt, Trained, TrainingState, train
from ticketdiet.training.observers import (
    BatchLossObserver,
    EvaluationObserver,
    Observer,
    ProgressObserver,
    StateObserver,
    TraceRow,
)
from ticketdiet.training.recipe import Recipe

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Made:
    """What a stage made, before it is kept.

    Attributes:
        tensors: File stem -> tensors by name.
        rows: Measurements: step, metric, split, value.
        facts: Other things worth knowing, JSON-able.
        warnings: For the user, one sentence each.
    """

    tensors: Mapping[str, Tensors]
    rows: tuple[TraceRow, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Bench:
    """Where stages are worked: a store, a device, and the images held there between stages.

    Args:
        store: Where inputs are read and results kept.
        device: torch device to compute on.
        save_every_seconds: How often the state of a running training is kept.
        report: Told the steps done of the running stage.
    """

    def __init__(
        self,
        store: ResultStore,
        device: str = "cpu",
        *,
        save_every_seconds: float = 30.0,
        report: Callable[[Stage, int], None] = lambda stage, step: None,
    ) -> None:
        self.store, self.device, self.report = store, torch.device(device), report
        self.save_every_seconds = save_every_seconds
        self._images: tuple[DatasetSpec, ImageSplits] | None = None

    def perform(self, stage: Stage) -> tuple[str, ...]:
        """Work ``stage`` and keep its result; returns warnings for the user. A kept result is not made again."""
        if self.store.has(stage.address):
            return ()
        started = datetime.now(UTC)
        made = WORKERS[stage.kind](self, stage)
        documents: dict[str, Any] = {"rows": [asdict(row) for row in made.rows], "facts": dict(made.facts)}
        self.store.write(
            stage.address,
            kind=stage.kind,
            spec=stage.spec,
            inputs=stage.inputs,
            tensors=made.tensors,
            documents=documents,
            provenance=describe_run(started, device=str(self.device)),
        )
        return made.warnings

    def images(self, stage: Stage) -> ImageSplits:
        """The images of the stage, on the device; refused when they are not those that were planned for."""
        if self._images is None or self._images[0] != stage.dataset:
            splits = load_images(**stage.dataset.model_dump(exclude={"name"}), source=stage.dataset.name)
            self._images = (stage.dataset, _on_device(splits, self.device))
        splits = self._images[1]
        expected = stage.spec["data"]["train"] if isinstance(stage.spec["data"], dict) else stage.spec["data"]
        if splits.train.fingerprint != expected:
            raise DataError(
                f"{stage.dataset.name} is now {splits.train.fingerprint[:12]}, planned was {expected[:12]}.",
                expected="the data to stay as they are while a study runs",
                way_out="run again: the study is planned anew on the data as they are now",
            )
        return splits

    def train(self, stage: Stage, model: nn.Module, observers: list[Observer], **options: Any) -> Trained:
        """Train as the stage says, from where a killed run left off if one did."""
        address = stage.address
        start = options.get("start_step", 0)

        def save(state: TrainingState) -> None:
            self.store.save_partial(address, state.to_tensors(), {"step": state.step})

        watching = [
            *observers,
            StateObserver(save, self.save_every_seconds),
            ProgressObserver(lambda step: self.report(stage, step - start)),
        ]
        partial = self.store.load_partial(address)
        resume = TrainingState.from_tensors(partial.tensors, len(watching)) if partial else None
        try:
            return train(model, self.images(stage).train, observers=watching, resume=resume, **options)
        except DivergedAt as error:
            save(error.state)
            raise

    def build(self, stage: Stage) -> nn.Module:
        """The stage's network at its initialisation, on the device."""
        model = dict(stage.spec["model"])
        del model["source"]
        seeds = RunSeeds.of(stage.spec["seed"], stage.spec.get("replicate", 0))
        return build_model(**model, seed=seeds.initialisation).to(self.device)


def _on_device(splits: ImageSplits, device: torch.device) -> ImageSplits:
    validation = splits.validation.to(device) if splits.validation is not None else None
    return ImageSplits(splits.train.to(device), splits.test.to(device), validation, splits.name)


def _recipe(stage: Stage) -> Recipe:
    return Recipe.model_validate(stage.spec["recipe"])


def _evaluations(splits: ImageSplits, recipe: Recipe, every: int, start: int, stop: int) -> list[Observer]:
    """All splits at the end; what is held out every so often before."""
    held_out: dict[str, Images] = {"test": splits.test}
    if splits.validation is not None:
        held_out["validation"] = splits.validation
    along = range(start - start % every + every, stop, every) if every else ()
    return [
        BatchLossObserver(),
        EvaluationObserver(held_out, tuple(along), recipe.precision),
        EvaluationObserver({"train": splits.train, **held_out}, (stop,), recipe.precision),
    ]


def score_model(bench: Bench, stage: Stage) -> Made:
    """Train one model of a score and score every training example with it."""
    spec = stage.spec
    model_spec = {key: value for key, value in spec["model"].items() if key != "source"}
    row = score_replicate(
        spec["kind"],
        spec["index"],
        bench.images(stage).train,
        lambda seed: build_model(**model_spec, seed=seed).to(bench.device),
        _recipe(stage),
        steps=spec["steps"],
        seed=spec["seed"],
        options=ScoreOptions(precision=spec["recipe"]["precision"], batch_norm=spec["batch_norm"]),
        observers=(ProgressObserver(lambda step: bench.report(stage, step)),),
    )
    return Made({"scores": {"scores": torch.as_tensor(row, dtype=torch.float32)}})


def score(bench: Bench, stage: Stage) -> Made:
    """Stack the rows of all models of a score into its matrix."""
    rows = [bench.store.tensors(stage.inputs[role], "scores")["scores"] for role in sorted(stage.inputs)]
    return Made({"scores": {"matrix": torch.stack(rows)}})


def subset(bench: Bench, stage: Stage) -> Made:
    """Choose the examples of pre-training."""
    spec = dict(stage.spec)
    labels = bench.images(stage).train.labels.cpu().numpy()
    options = {key: spec[key] for key in ("kind", "size", "balanced", "seed", "offset", "classes")}
    options |= {"mix": spec["mix"]} if spec["mix"] is not None else {}
    scores: Any = len(labels)
    if "score" in stage.inputs:
        scores = bench.store.tensors(stage.inputs["score"], "scores")["matrix"].double().mean(0)
    indices = choose_subset(scores, labels=labels, **options)
    return Made({"subset": {"indices": torch.from_numpy(indices)}}, facts={"size": len(indices)})


def pretrain(bench: Bench, stage: Stage) -> Made:
    """Train dense for k steps on the subset: the rewinding point."""
    spec, model, splits = stage.spec, bench.build(stage), bench.images(stage)
    steps = spec["steps"]
    recipe = _recipe(stage) if steps else Recipe(steps=1, batch_size=1)
    examples = _examples(bench, stage)
    trained = bench.train(
        stage,
        model,
        _evaluations(splits, recipe, 0, 0, steps),
        recipe=recipe,
        seeds=RunSeeds.of(spec["seed"], spec["replicate"]),
        stop_step=steps,
        examples=examples,
    )
    facts = {"examples_seen": trained.examples_seen, "unique_examples": _unique(trained, examples, len(splits.train))}
    return Made({"weights": trained.weights}, trained.trace, facts)


def _examples(bench: Bench, stage: Stage) -> np.ndarray | None:
    if "subset" not in stage.inputs:
        return None
    indices: np.ndarray = bench.store.tensors(stage.inputs["subset"], "subset")["indices"].numpy()
    return indices


def _unique(trained: Trained, examples: np.ndarray | None, num_train: int) -> int:
    return min(trained.examples_seen, num_train if examples is None else len(examples))


def level(bench: Bench, stage: Stage) -> Made:
    """Prune the level before, rewind, train: sparse training at this density and mask search for the next."""
    spec, model, splits = stage.spec, bench.build(stage), bench.images(stage)
    mask = _next_mask(bench, stage, model)
    rewind(model, bench.store.tensors(stage.inputs["point"], "weights"), mask)
    recipe, start = _recipe(stage), spec["start_step"]
    trained = bench.train(
        stage,
        model,
        _evaluations(splits, recipe, spec["evaluate_every"], start, recipe.steps),
        recipe=recipe,
        seeds=RunSeeds.of(spec["seed"], spec["replicate"]),
        start_step=start,
        mask=mask,
    )
    facts = {
        "density": density(mask),
        "kept": count_kept(mask),
        "layer_densities": layer_densities(mask),
        "examples_seen": trained.examples_seen,
    }
    warnings = tuple(f"{stage.label}: every weight of layer {name} is pruned" for name in empty_layers(mask))
    return Made({"weights": trained.weights, "mask": mask}, trained.trace, facts, warnings)


def _next_mask(bench: Bench, stage: Stage, model: nn.Module) -> dict[str, Tensor]:
    if "previous" not in stage.inputs:
        return dense_mask(model, stage.spec["ignore"])
    weights = bench.store.tensors(stage.inputs["previous"], "weights")
    mask = bench.store.tensors(stage.inputs["previous"], "mask")
    return prune(weights, mask, stage.spec["fraction"], stage.spec["rule"])


WORKERS: Mapping[str, Callable[[Bench, Stage], Made]] = {
    "score_model": score_model,
    "score": score,
    "subset": subset,
    "pretrain": pretrain,
    "level": level,
}
