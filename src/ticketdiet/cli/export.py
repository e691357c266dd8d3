"""``ticketdiet export``: a stored network as a ticket to take away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ticketdiet.cli.options import DEFAULT_STORE, Settings, StoreUrl, open_store, open_study
from ticketdiet.core.errors import UserError, shown

if TYPE_CHECKING:
    from ticketdiet.tickets.portable import PortableTicket

HEXADECIMAL = frozenset("0123456789abcdef")
Format = Annotated[
    Literal["safetensors", "torch", "onnx"],
    typer.Option("--to", help="The format. onnx needs the extra onnx, and has a safetensors file beside it."),
]


def export(
    network: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|STUDY",
            help="Address of a stored network, or the first digits of it; or a study, followed by ARM.",
            show_default=False,
        ),
    ],
    arm: Annotated[
        str | None, typer.Argument(metavar="ARM", help="After a study: the arm to take.", show_default=False)
    ] = None,
    to: Format = "safetensors",
    out: Annotated[Path | None, typer.Option(help="Folder to write. The default is ticket-ADDRESS.")] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Remove dead channels; outputs stay equal to float error.")
    ] = False,
    replicate: Annotated[
        int | None, typer.Option(min=0, help="After a study: which replicate. The default is 0.")
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=0, help="After a study: which level. The default is the sparsest.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    settings: Settings = None,
) -> None:
    """Write a trained network with its mask, what is known about it, and a model card into a folder."""
    from ticketdiet.studies.exported import stored_ticket
    from ticketdiet.tickets.portable_folder import check_format, export_ticket

    check_format(to)
    if arm is None:
        _check_address(network, {"--replicate": replicate, "--level": level, "--set": settings or None})
        address = network
    else:
        address = open_study(network, store, settings).trained(arm, replicate or 0, level).address
    ticket = stored_ticket(open_store(store), address, compacted=compact)
    address = str(ticket.facts.origin["address"])
    say_ticket(ticket)
    say_files(export_ticket(out or Path(f"ticket-{address[:8]}"), ticket, to))


def say_ticket(ticket: PortableTicket) -> None:
    """Say what a ticket is, in one line."""
    facts = ticket.facts
    parameters = sum(parameter.numel() for parameter in ticket.module.parameters())
    accuracy = facts.metrics.get("test", {}).get("accuracy")
    typer.echo(
        f"{facts.network.name}, density {facts.density:.4g} ({facts.kept:,} weights kept), {parameters:,} parameters"
        + ("" if accuracy is None else f", test accuracy {accuracy:.4f}")
    )


def say_files(files: tuple[Path, ...]) -> None:
    """Say which files were written."""
    for file in files:
        typer.echo(f"file:    {file}")


def _check_address(address: str, of_studies: dict[str, object]) -> None:
    if not address or not set(address.lower()) <= HEXADECIMAL:
        raise UserError(
            f"Got {shown(address)}, which is no address.",
            expected="an address of hexadecimal digits, or a study and an arm",
            way_out="name the arm after the study, for example: ticketdiet export quickstart all@20",
        )
    given = [option for option, value in of_studies.items() if value is not None]
    if given:
        raise UserError(
            f"Got {given[0]} with an address.",
            expected=f"{given[0]} only with a study and an arm",
            way_out="leave it out: an address is that of one replicate and level",
        )
