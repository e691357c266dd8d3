"""``recipes`` and ``data``: what is built in, and what is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

recipes_app = typer.Typer(help="List built-in studies; show one to copy and edit.", no_args_is_help=False)
data_app = typer.Typer(help="List data sources and whether they are on this machine; show one.", no_args_is_help=False)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(recipes_app, name="recipes")
    app.add_typer(data_app, name="data")


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the built-in studies."""
    if context.invoked_subcommand is None:
        from ticketdiet.studies.load import load_study, recipe_names

        for name in recipe_names():
            typer.echo(f"{name:20} {load_study(name).description}")


@recipes_app.command("show")
def recipes_show(name: Annotated[str, typer.Argument(help="Name of a recipe.")]) -> None:
    """Print the YAML of a built-in study, to copy and edit."""
    from ticketdiet.studies.load import recipe_text

    typer.echo(recipe_text(name), nl=False)


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List the known sources."""
    if context.invoked_subcommand is None:
        from rich.console import Console
        from rich.table import Table

        from ticketdiet.data.sources import describe_sources

        table = Table("source", "what", "here", "extra", box=None, pad_edge=False)
        for source in describe_sources():
            here = "by path" if source.takes_path else "yes" if source.location else "no"
            table.add_row(source.usage, source.what, here, source.extra)
        Console().print(table)


@data_app.command("show")
def data_show(
    source: Annotated[str, typer.Argument(help="digits, cifar10, parquet:PATH, folder:PATH, npz:PATH, ...")],
    resolution: Annotated[int | None, typer.Option(min=1, help="Average-pool to this many pixels.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Keep this many training examples.")] = None,
    root: Annotated[str | None, typer.Option(help="Where the data lie.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to draw the sheet; default figures/SOURCE.png.")] = None,
) -> None:
    """Print shape, classes, counts and fingerprint of a data set, and draw a sheet of sample images."""
    from ticketdiet.data.images import load_images
    from ticketdiet.data.sheet import sample_sheet
    from ticketdiet.reports.style import save_figure

    splits = load_images(source, resolution=resolution, limit=limit, root=root)
    typer.echo(f"{source}: {' x '.join(map(str, splits.train.pixels.shape[1:]))} (channels x height x width)")
    typer.echo(f"fingerprint: {splits.fingerprint}")
    typer.echo(f"classes: {', '.join(splits.train.class_names)}")
    for name, images in (("train", splits.train), ("test", splits.test)):
        counts = images.labels.bincount(minlength=images.num_classes).tolist()
        typer.echo(f"{name}: {len(images):,} images, by class {counts}")
    stem = (
        out.with_suffix("")
        if out and out.name
        else Path("figures") / "".join(c if c.isalnum() else "-" for c in source)[:100]
    )
    typer.echo(f"sheet: {save_figure(sample_sheet(splits.train), stem)[0]}")
