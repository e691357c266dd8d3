"""Where stages are worked: a store to read from and write to, a device, and the images held there between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.datasets import check_fingerprints, load_dataset
from ticketdiet.studies.energy import ALONE, Sharing
from ticketdiet.studies.label_noise import SeenNoise
from ticketdiet.studies.network import Network
from ticketdiet.studies.placement import place
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stage import Row, Stage, Training
from ticketdiet.studies.stopping import StopObserver, StopSignal
from ticketdiet.training.distributed import present_ranks
from ticketdiet.training.loop import DivergedAt, Trained, TrainingState, train
from ticketdiet.training.observers import ProgressObserver, StateObserver

Report = Callable[[Stage, int], None]
Load = Callable[[DatasetSpec], ImageSplits]


def say_nothing(stage: Stage, step: int) -> None:
    """Tell nobody of the steps done."""
    del stage, step


class Context:
    """What working a stage needs.

    Args:
        store: Where inputs are read and results kept.
        device: torch device to compute on.
        save_every_seconds: How often the state of a running training is kept.
        report: Told the steps done of the running stage.
        sharing: How many processes of the run share the machine and the device.
        stop: Tells the running training to save its state and end.
        load: Loads a data set; by default as its name says.
        partners: Devices of the other processes that work the same stage with this one.
    """

    def __init__(
        self,
        store: ResultStore,
        device: str = "cpu",
        *,
        save_every_seconds: float = 30.0,
        report: Report = say_nothing,
        sharing: Sharing = ALONE,
        stop: StopSignal | None = None,
        load: Load = load_dataset,
        partners: Sequence[str] = (),
    ) -> None:
        self.store, self.device, self.report, self.load = store, torch.device(device), report, load
        self.sharing, self.stop, self.partners = sharing, stop or StopSignal(), tuple(partners)
        self._save_every_seconds = save_every_seconds
        self._images: tuple[DatasetSpec, ImageSplits] | None = None

    def images(self, stage: Stage) -> ImageSplits:
        """Return the images of the stage, on the device or streamed to it.

        Raises:
            DataError: When they are not those that were planned for.
        """
        if self._images is None or self._images[0] != stage.dataset:
            loaded = self.load(stage.dataset)
            self._images = (stage.dataset, place(loaded, self.device, processes=self.sharing.on_device))
        splits = self._images[1]
        check_fingerprints(splits, stage.data, stage.dataset.name)
        return splits

    def train_images(self, stage: Stage, noise: SeenNoise | None) -> Images:
        """Return the training images with the labels that the stage sees: as they came, or with its label noise."""
        images = self.images(stage).train
        if noise is None:
            return images
        noisy = noise.apply(images.labels.cpu().numpy(), images.num_classes, stage.path)
        return replace(images, labels=torch.from_numpy(noisy.labels).to(images.labels.device))

    def splits(self, stage: Stage, *, train: bool = True) -> dict[str, Images]:
        """Return the images of the stage by the name of their split."""
        named = self.images(stage).named()
        return {name: images for name, images in named.items() if train or name != "train"}

    def subset(self, address: str | None) -> np.ndarray | None:
        """Return the indices of a stored subset, int64, or None for everything."""
        return None if address is None else self.indices(address)

    def indices(self, address: str) -> np.ndarray:
        """Return the indices of a stored subset, int64."""
        found: np.ndarray = self.store.tensors(address, "subset")["indices"].numpy()
        return found

    def weights(self, address: str) -> dict[str, Tensor]:
        """Return the weights of a stored network."""
        return self.store.tensors(address, "weights")

    def mask(self, address: str) -> dict[str, Tensor]:
        """Return the mask of a stored network."""
        return self.store.tensors(address, "mask")

    def build(self, network: Network, seed: int) -> nn.Module:
        """Make a network at the initial weights of ``seed``, on the device."""
        return network.build(seed).to(self.device)

    def train(self, stage: Stage, training: Training) -> Trained:
        """Train, from where a killed run of the stage left off if one did; the first of several ranks saves."""
        address, start, ranks = stage.address, training.start_step, present_ranks()

        def save(state: TrainingState) -> None:
            if ranks.is_first:
                self.store.save_partial(address, state.to_tensors(), {"step": state.step})

        watching = [
            *training.observers,
            StateObserver(save, self._save_every_seconds),
            ProgressObserver(lambda step: self.report(stage, step - start)),
            StopObserver(self.stop, save),
        ]
        partial = self.store.load_partial(address)
        ranks.wait()  # until all have read it, since the first will write the next
        resume = TrainingState.from_tensors(partial.tensors, len(watching)) if partial else None
        try:
            with self.stop.training():
                return train(
                    training.model,
                    training.images,
                    training.recipe,
                    seeds=training.seeds,
                    start_step=start,
                    stop_step=training.stop_step,
                    mask=training.mask,
                    examples=training.examples,
                    observers=watching,
                    resume=resume,
                    batches=training.batches,
                )
        except DivergedAt as error:
            save(error.state)
            raise


def rows_of(trained: Trained) -> tuple[Row, ...]:
    """Return the measurements along a training, as rows."""
    return tuple(asdict(row) for row in trained.trace)


def training_facts(trained: Trained) -> Mapping[str, int | str | None]:
    """Return what a training showed to the network, and what computed it."""
    return {
        "examples_seen": trained.examples_seen,
        "unique_examples": trained.unique_examples,
        "kernels": trained.kernels,
    }
