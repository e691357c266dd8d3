"""What a process of a Ray cluster does for a run: say what it is, and work one stage after another.

Nothing here imports Ray. A process serves many tasks, so it keeps its context, with the images on its device, from one
stage to the next.
"""

from __future__ import annotations

import functools
import os
import socket
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ticketdiet.core.errors import TicketDietError
from ticketdiet.core.values import Images, ImageSplits
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.context import Context
from ticketdiet.studies.datasets import load_dataset
from ticketdiet.studies.executors.base import Ending, Progress, Warnings
from ticketdiet.studies.executors.code_version import code_version
from ticketdiet.studies.executors.orders import StageOrder, WorkerOrder
from ticketdiet.studies.executors.sent_errors import sendable
from ticketdiet.studies.executors.team import Team
from ticketdiet.studies.schema import DatasetSpec
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stage_data import stage_of_data
from ticketdiet.studies.work import perform


@dataclass(frozen=True)
class NodeReport:
    """What a worker says of its node.

    Attributes:
        name: Its host name.
        code: Version of the code there.
        sees_store: Whether the store of the run is to be found there.
    """

    name: str
    code: str
    sees_store: bool


Shipped = Mapping[str, Mapping[str, Any]]  # name of a split -> fields of its images, arrays for tensors


class Reports:
    """An actor that takes the progress of all workers until the run asks for it."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def tell(self, address: str, step: int) -> None:
        """Take the steps done of a stage; only the last word of each stage is kept."""
        self._told[address] = step

    def take(self) -> list[Progress]:
        """Give what was told since the last call."""
        told, self._told = list(self._told.items()), {}
        return told


def ship(splits: ImageSplits) -> Shipped:
    """Return images as arrays, which Ray keeps once on each node, in memory that all its workers share."""
    return {
        name: {
            "pixels": images.pixels.numpy(),
            "labels": images.labels.numpy(),
            "class_names": images.class_names,
            "mean": images.mean,
            "std": images.std,
        }
        for name, images in splits.named().items()
    }


def unship(shipped: Shipped, name: str) -> ImageSplits:
    """Return the images of :func:`ship` without copying them; their fingerprints are computed anew where they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to images
        splits = {split: _images(**fields) for split, fields in shipped.items()}
    return ImageSplits(splits["train"], splits["test"], splits.get("validation"), name)


def _images(pixels: np.ndarray, labels: np.ndarray, **described: Any) -> Images:
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels), **described)


def describe_node(store_url: str) -> NodeReport:
    """Say what this worker's node is."""
    try:
        ResultStore.open(store_url, create=False)
    except TicketDietError:
        sees_store = False
    else:
        sees_store = True
    return NodeReport(socket.gethostname(), code_version(), sees_store)


def work(text: str, shipped: Shipped | None, reports: Any) -> Ending:
    """Work a stage.

    Args:
        text: The order, as :class:`~ticketdiet.studies.executors.orders.StageOrder` writes it.
        shipped: The images of the stage; None to load them on this node.
        reports: Handle of an actor :class:`Reports`.

    Returns:
        Its warnings, or what it raised, which Ray would wrap in a class that other processes may not know.
    """
    try:
        order = StageOrder.of_text(text)
        (data,) = order.stages
        return _work(order.worker, stage_of_data(data), shipped, reports)
    except Exception as error:
        return sendable(error)


def _work(order: WorkerOrder, stage: Stage, shipped: Shipped | None, reports: Any) -> Warnings:
    def tell(address: str, step: int) -> None:
        reports.tell.remote(address, step)

    if len(order.devices) > 1:
        return _team(order).perform(stage, tell)
    context = _context(order)
    context.report = lambda stage, step: tell(stage.address, step)
    context.load = load_dataset if shipped is None else functools.partial(_unpacked, shipped)
    return perform(context, stage)


def _unpacked(shipped: Shipped, dataset: DatasetSpec) -> ImageSplits:
    return unship(shipped, dataset.name)


@functools.lru_cache(maxsize=1)
def _context(order: WorkerOrder) -> Context:
    return order.begin()


@functools.lru_cache(maxsize=1)
def _team(order: WorkerOrder) -> Team:
    return Team(order)


def slots(of_node: Mapping[str, float], needed: Mapping[str, float]) -> int:
    """Return how many tasks that need some resources fit on a node, at most one a core where they need nothing."""
    fits = [int(of_node.get(name, 0.0) / amount + 1e-6) for name, amount in needed.items() if amount > 0]
    return min(fits) if fits else os.cpu_count() or 1
