"""``ticketdiet import``: a network that another program trained, as a ticket of this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ticketdiet.cli.export import Format, say_files, say_ticket


def import_network(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A file of weights, or the folder of a level with weights and mask.",
            show_default=False,
        ),
    ],
    origin: Annotated[
        Literal["open_lth", "lth_diet"], typer.Option("--from", help="Which program wrote it.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The mask. The default is the one beside the weights.")
    ] = None,
    image_size: Annotated[
        int, typer.Option(min=1, max=10_000, help="Height and width of the images, which weights do not tell.")
    ] = 32,
    to: Format = "safetensors",
) -> None:
    """Read a network of open_lth or lth_diet with its mask, and write it as a ticket."""
    from ticketdiet.tickets.foreign import import_checkpoint
    from ticketdiet.tickets.portable_folder import check_format, export_ticket

    check_format(to)
    ticket = import_checkpoint(path, origin=origin, mask=mask, image_size=image_size)
    say_ticket(ticket)
    say_files(export_ticket(out, ticket, to))
