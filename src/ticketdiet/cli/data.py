"""``ticketdiet data``: the sources of images, and what a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticketdiet.cli.output import new_table, print_table

data_app = typer.Typer(
    help="List the sources of images, and whether they are on this machine; show one.", no_args_is_help=False
)


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List the sources of images, and whether they are on this machine; show one."""
    if context.invoked_subcommand is None:
        from ticketdiet.data.sources import describe_sources

        table = new_table("source", "what it is", "here", "extra")
        for source in describe_sources():
            here = "by path" if source.takes_path else "yes" if source.location else "no"
            table.add_row(source.usage, source.what, here, source.extra)
        print_table(table)


@data_app.command("show")
def data_show(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="digits, cifar10, parquet:PATH, folder:PATH, npz:PATH, ...", show_default=False
        ),
    ],
    resolution: Annotated[int | None, typer.Option(min=1, help="Average-pool the images to this many pixels.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Keep only this many training examples.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder in which the data lie.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture with some of the images. The default is figures/SOURCE.png.")
    ] = None,
) -> None:
    """Print shape, classes, counts and fingerprint of a data set, and draw some of its images."""
    from ticketdiet.data.images import load_images
    from ticketdiet.reports.sheet import sample_sheet
    from ticketdiet.reports.style import save_figure

    splits = load_images(source, resolution=resolution, limit=limit, root=root)
    typer.echo(f"{source}: {' x '.join(map(str, splits.train.pixels.shape[1:]))} (channels x height x width)")
    typer.echo(f"fingerprint: {splits.fingerprint}")
    typer.echo(f"classes: {', '.join(splits.train.class_names)}")
    for name, images in (("train", splits.train), ("test", splits.test)):
        counts = images.labels.bincount(minlength=images.num_classes).tolist()
        typer.echo(f"{name}: {len(images):,} images, by class {counts}")
    typer.echo(f"sheet: {save_figure(sample_sheet(splits.train), _stem(source, out))[0]}")


def _stem(source: str, out: Path | None) -> Path:
    if out is not None and out.name:
        return out.with_suffix("")
    return Path("figures") / "".join(character if character.isalnum() else "-" for character in source)[:100]
