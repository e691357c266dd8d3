"""Options of the commands that look at stored networks, and how they find weights and images."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketdiet.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from ticketdiet.core.values import Images
    from ticketdiet.studies.parts import DatasetSpec
    from ticketdiet.studies.stored import StoredNetwork

NetworkA = Annotated[str, typer.Argument(metavar="A", help="Address of a result that holds weights, or its beginning.")]
FromStudy = Annotated[
    str | None,
    typer.Option("--study", metavar="STUDY", help="Study the networks come from; it says where their images lie."),
]
Dataset = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Name of their images, instead.")]
Resolution = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="With --dataset: as the networks were trained.")
]
Limit = Annotated[int | None, typer.Option(min=1, max=10**9, help="With --dataset: as the networks were trained.")]
Root = Annotated[str | None, typer.Option(help="With --dataset: where the images lie.")]
Split = Annotated[str, typer.Option(help="train, test or validation.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")]


class Precision(enum.StrEnum):
    """Precision of the forward passes."""

    float32 = "float32"
    bfloat16 = "bfloat16"


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
) -> DatasetSpec:
    """Say where the images lie: as a study says, or by name.

    Raises:
        UserError: When both or none is given.
    """
    if (study is None) == (dataset is None):
        raise UserError(
            f"{'neither --study nor --dataset' if study is None else 'both --study and --dataset'}.",
            expected="one of them: a result knows the fingerprint of its images, not where they lie",
            way_out="--study quickstart, or --dataset digits",
        )
    if study is not None:
        from ticketdiet.studies.load import load_study

        return load_study(study, settings or ()).dataset
    from ticketdiet.studies.parts import DatasetSpec

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

    Raises:
        UserError: For an address that holds no weights, other images, a split or device that is not there.
    """
    from ticketdiet.cli.options import open_store
    from ticketdiet.core.errors import UnknownName
    from ticketdiet.studies.executors import choose_device
    from ticketdiet.studies.stored import load_images_of, load_network, named_splits

    chosen, store = choose_device(device), open_store(store_url)
    networks = tuple(load_network(store, prefix) for prefix in prefixes)
    named = named_splits(load_images_of(networks, dataset))
    if split not in named:
        raise UnknownName.of("split", split, named)
    model = networks[0].build().to(chosen)
    return Opened(networks, model, named[split].to(chosen), named["train"].to(chosen))


def save_figures(figures: Mapping[str, Any], folder: Path) -> None:
    """Write figures as PNG and SVG, and say where."""
    from ticketdiet.reports.style import save_figure

    for stem, figure in figures.items():
        for path in save_figure(figure, folder / stem):
            typer.echo(f"figure:  {path}")


def save_json(document: dict[str, Any], path: Path | None) -> None:
    """Write a result as JSON where one was asked for, and say so."""
    if path is not None:
        from ticketdiet.reports.writing import write_bytes

        write_bytes((json.dumps(document, indent=1) + "\n").encode(), path)
        typer.echo(f"json:    {path}")
