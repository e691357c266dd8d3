"""Options of the commands that look at single stored networks, and how these find weights and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.cli.options import open_store, open_study
from ticketdiet.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from ticketdiet.core.values import Images
    from ticketdiet.studies.schema import DatasetSpec
    from ticketdiet.studies.stored_networks import StoredNetwork

NetworkA = Annotated[
    str,
    typer.Argument(metavar="A", help="Address of a stored network, or the first digits of it.", show_default=False),
]
NetworkB = Annotated[str, typer.Argument(metavar="B", help="Address of another one, likewise.", show_default=False)]
FromStudy = Annotated[
    str | None,
    typer.Option(
        "--study", metavar="STUDY", help="The study that the networks come from, which says where their images are."
    ),
]
Dataset = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME", help="The name of their images, instead of a study.")
]
Resolution = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="With --dataset: the value that the networks were trained with.")
]
Limit = Annotated[
    int | None, typer.Option(min=1, max=10**9, help="With --dataset: the value that the networks were trained with.")
]
Root = Annotated[str | None, typer.Option(help="With --dataset: the folder of the images.")]
Split = Annotated[str, typer.Option(help="The images to measure on: train, test or validation.")]


def statistics_in_words(batch_norm: str) -> str:
    """Name a BatchNorm policy, and for ``recalibrate`` the images that its statistics come from."""
    return batch_norm + (" on train images" if batch_norm == "recalibrate" else "")


def choose_dataset(
    study: str | None,
    settings: list[str] | None,
    dataset: str | None,
    resolution: int | None,
    limit: int | None,
    root: str | None,
    store: str,
) -> DatasetSpec:
    """Say where the images are: as a study says, or by name.

    Returns:
        The data set.

    Raises:
        UserError: When both or none is given.
    """
    if (study is None) == (dataset is None):
        raise UserError(
            f"The command has {'neither --study nor --dataset' if study is None else 'both --study and --dataset'}.",
            expected="one of them: a result knows the fingerprint of its images, but not where they are",
            way_out="--study quickstart, or --dataset digits",
        )
    if study is not None:
        return open_study(study, store, settings).spec.dataset
    from ticketdiet.studies.schema import DatasetSpec

    return DatasetSpec(name=str(dataset), resolution=resolution, limit=limit, root=root)


@dataclass(frozen=True, eq=False)
class Opened:
    """Stored networks of one shape, ready to be looked at.

    Attributes:
        networks: In the order they were named.
        model: A module of their shape, on the device.
        images: Of the split that was asked for, on the device.
        train: The training images, on the device.
    """

    networks: tuple[StoredNetwork, ...]
    model: nn.Module
    images: Images
    train: Images


def open_networks(store_url: str, prefixes: tuple[str, ...], dataset: DatasetSpec, split: str, device: str) -> Opened:
    """Read networks by the beginnings of their addresses, and the images they were trained on.

    Returns:
        The networks, a module of their shape, and the images on the device.

    Raises:
        UnknownName: For a split that the data set does not have.
        UserError: For an address that holds no weights, other images, a split or device that is not there.
    """
    from ticketdiet.core.errors import check_known
    from ticketdiet.studies.devices import choose_device
    from ticketdiet.studies.placement import place
    from ticketdiet.studies.stored_networks import load_images_of, load_network

    chosen, store = choose_device(device), open_store(store_url)
    networks = tuple(load_network(store, prefix) for prefix in prefixes)
    named = place(load_images_of(networks, dataset), chosen).named()
    check_known("split", split, named)
    model = networks[0].build().to(chosen)
    return Opened(networks, model, named[split], named["train"])
