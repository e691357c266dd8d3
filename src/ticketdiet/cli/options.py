"""Arguments and options that several commands share, and how a command opens what they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticketdiet.core.collecting import importing
from ticketdiet.reports.formats import Format

if TYPE_CHECKING:
    from ticketdiet.reports.study import Study
    from ticketdiet.store.results import ResultStore
    from ticketdiet.studies.executors.base import ExecutorKind

StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A YAML file, the name of a built-in study, or the name of a study that was run on the store.",
        show_default=False,
    ),
]
StoreUrl = Annotated[
    str,
    typer.Option("--store", envvar="TICKETDIET_STORE", help="Where the results are kept: a folder or any fsspec URL."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the study, as in training.steps=400. Repeatable."
    ),
]
LimitArms = Annotated[
    str | None, typer.Option("--limit-arms", metavar="A,B", help="Take only these arms, separated by commas.")
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Where to compute: auto, all (every GPU), cpu, cuda or cuda:N. Repeat it, or separate devices by commas, "
        "to give them to the workers in turn. The default is auto.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="How many processes train. The default is one per core or per GPU.")
]
WorkersPerDevice = Annotated[
    int | None, typer.Option(min=1, help="How many processes train on each device. The default is one per GPU.")
]
DevicesPerStage = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many devices share the batches of each training. The default is one; on the CPU, so many processes.",
    ),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        envvar="TICKETDIET_EXECUTOR",
        help="Where the stages are worked: local, slurm, ray, or a name in the machine file. The default is local.",
    ),
]
ExecutorsFile = Annotated[
    Path | None,
    typer.Option(
        "--executors",
        metavar="FILE",
        envvar="TICKETDIET_EXECUTORS",
        help="The machine file, which names executors and their options. The default is executors.yaml in this folder, "
        "or else in ~/.config/ticketdiet.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads per process. By default OMP_NUM_THREADS, or else the processes divide the cores."
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(help="An example counts as connected up to this barrier, in nats. The default is the study's."),
]
Replicate = Annotated[int, typer.Option(min=0, help="Which replicate to read, from 0.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with code 1 when results of the study are missing or damaged.")
]
RowsFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="How to print the rows; the default is table. parquet needs --out or a redirected output.",
    ),
]
RowsFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write a .csv, .json, .parquet or .txt file instead of printing."),
]
FiguresFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for the figures. The default is figures/STUDY.")
]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result to a JSON file.")]
DEFAULT_STORE = "runs"


def open_study(study: str, store: str, settings: list[str] | None = None, limit_arms: str | None = None) -> Study:
    """Load the study that a command names, with its overrides and only some of its arms."""
    with importing():
        from ticketdiet.reports.loading import load_study

    arms = None if limit_arms is None else split_names(limit_arms)
    return load_study(study, settings or (), store=store, arms=arms)


def open_store(url: str, *, create: bool = False) -> ResultStore:
    """Open the store that a command names."""
    with importing():
        from ticketdiet.store.results import ResultStore

    return ResultStore.open(url, create=create)


def split_names(text: str) -> list[str]:
    """Read names that are separated by commas; empty ones are left out."""
    return [name.strip() for name in text.split(",") if name.strip()]


def split_devices(given: list[str] | None) -> list[str]:
    """Read ``--device``, which may be repeated and may hold several devices."""
    return [device.strip() for text in given or ["auto"] for device in text.split(",")]


def open_executor(name: str | None, file: Path | None) -> ExecutorKind | None:
    """Return the executor that a command names, None when it names none."""
    if name is None:
        return None
    from ticketdiet.studies.executors.catalog import find_executor

    return find_executor(name, file)
