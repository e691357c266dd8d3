"""Where stages are worked: a store to read from and write to, a device, and the images held there between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.data.images import load_images
from ticketdiet.data.noise import add_label_noise, use_given_labels
from ticketdiet.models.build import build_model
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.parts import DatasetSpec
from ticketdiet.studies.stages import Stage
from ticketdiet.training.loop import DivergedAt, Trained, TrainingState, train
from ticketdiet.training.observers import Observer, ProgressObserver, StateObserver, TraceRow
from ticketdiet.training.recipe import Recipe

Row = Mapping[str, Any]
Report = Callable[[Stage, int], None]


@dataclass(frozen=True, eq=False)
class Made:
    """What a stage made, before it is kept.

    Attributes:
        tensors: File stem -> tensors by name.
        rows: Measurements: step, metric, split, value, and what a metric needs besides (tolerance, pair).
        facts: Other things worth knowing, JSON-able.
        warnings: For the user, one sentence each.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    rows: tuple[Row, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def rows_of(trace: Sequence[TraceRow]) -> tuple[Row, ...]:
    """Measurements along a training, as rows."""
    return tuple(asdict(row) for row in trace)


def recipe_of(stage: Stage) -> Recipe:
    """The recipe that a stage trains by."""
    return Recipe.model_validate(stage.spec["recipe"])


def _say_nothing(stage: Stage, step: int) -> None:
    del stage, step


class Bench:
    """What working a stage needs.

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
        report: Report = _say_nothing,
    ) -> None:
        self.store, self.device, self.report = store, torch.device(device), report
        self._save_every_seconds = save_every_seconds
        self._images: tuple[DatasetSpec, ImageSplits] | None = None

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

    def train_images(self, stage: Stage) -> Images:
        """The training images with the labels that the stage sees: as they came, or with its label noise."""
        images, noise = self.images(stage).train, stage.spec.get("label_noise")
        if noise is None:
            return images
        clean = images.labels.cpu().numpy()
        if noise["kind"] == "file":
            noisy = use_given_labels(clean, str(stage.path), num_classes=images.num_classes)
        else:
            chosen = {key: noise[key] for key in ("kind", "fraction", "seed")}
            noisy = add_label_noise(clean, num_classes=images.num_classes, **chosen)
        return replace(images, labels=torch.from_numpy(noisy.labels).to(images.labels.device))

    def splits(self, stage: Stage, *, train: bool = True) -> dict[str, Images]:
        """The images of the stage by the name of their split."""
        found = self.images(stage)
        named = {"train": found.train, "test": found.test, "validation": found.validation}
        return {name: images for name, images in named.items() if images is not None and (train or name != "train")}

    def indices(self, stage: Stage) -> np.ndarray | None:
        """The subset that the stage trains on, or None for everything."""
        if "subset" not in stage.inputs:
            return None
        indices: np.ndarray = self.store.tensors(stage.inputs["subset"], "subset")["indices"].numpy()
        return indices

    def train(self, stage: Stage, model: nn.Module, observers: list[Observer], **options: Any) -> Trained:
        """Train as the stage says, from where a killed run left off if one did.

        Args:
            stage: What is worked.
            model: Its network, at the weights to start from.
            observers: What else happens at a step.
            **options: As :func:`~ticketdiet.training.loop.train` takes them, images included.
        """
        address, start = stage.address, options.get("start_step", 0)

        def save(state: TrainingState) -> None:
            self.store.save_partial(address, state.to_tensors(), {"step": state.step})

        watching = [
            *observers,
            StateObserver(save, self._save_every_seconds),
            ProgressObserver(lambda step: self.report(stage, step - start)),
        ]
        partial = self.store.load_partial(address)
        resume = TrainingState.from_tensors(partial.tensors, len(watching)) if partial else None
        try:
            return train(model, observers=watching, resume=resume, **options)
        except DivergedAt as error:
            save(error.state)
            raise

    def build(self, stage: Stage) -> nn.Module:
        """The stage's network at its initialisation, on the device."""
        seeds = RunSeeds.of(stage.spec["seed"], stage.spec.get("replicate", 0))
        return self.make_model(stage, seeds.initialisation)

    def make_model(self, stage: Stage, seed: int) -> nn.Module:
        """A network as the stage describes it, initialised from ``seed``, on the device."""
        options = {key: value for key, value in stage.spec["model"].items() if key != "source"}
        return build_model(**options, seed=seed).to(self.device)


def _on_device(splits: ImageSplits, device: torch.device) -> ImageSplits:
    validation = splits.validation.to(device) if splits.validation is not None else None
    return ImageSplits(splits.train.to(device), splits.test.to(device), validation, splits.name)
