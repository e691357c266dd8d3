"""A folder that holds one ticket: its file in the format that was asked for, and its model card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from ticketdiet.core.errors import check_known
from ticketdiet.core.writing import writing
from ticketdiet.tickets.card import model_card
from ticketdiet.tickets.onnx_file import check_onnx, write_onnx
from ticketdiet.tickets.portable import PortableTicket
from ticketdiet.tickets.portable_files import SAFETENSORS, TORCH, save_ticket

TicketFormat = Literal["safetensors", "torch", "onnx"]
CARD = "README.md"
_FILES: dict[str, tuple[str, ...]] = {
    "safetensors": (SAFETENSORS,),
    "torch": (TORCH,),
    "onnx": ("ticket.onnx", SAFETENSORS),  # ONNX has no place for a mask
}


def export_ticket(
    folder: str | os.PathLike[str], ticket: PortableTicket, format: TicketFormat = "safetensors"
) -> tuple[Path, ...]:
    """Write a ticket and its model card into a folder, which is made.

    Files of the same names are replaced. ``load_ticket(folder)`` reads the ticket again.

    Args:
        folder: Where to write.
        ticket: What to write.
        format: ``"safetensors"``, ``"torch"`` or ``"onnx"``; the last is beside a safetensors file that has the mask.

    Returns:
        The files that were written; the model card is the last.

    Raises:
        UnknownName: For another format.
        UserError: When the extra ``onnx`` is needed and not installed, or a file cannot be written.
    """
    check_format(format)
    files = [Path(folder) / name for name in _FILES[format]]
    for file in files:
        (write_onnx if file.suffix == ".onnx" else save_ticket)(file, ticket)
    card = Path(folder) / CARD
    with writing(card):
        card.write_text(model_card(ticket, [file.name for file in files]), encoding="utf-8")
    return (*files, card)


def check_format(format: str) -> None:
    """Refuse a format that cannot be written, before long work.

    Raises:
        UnknownName: For an unknown format.
        UserError: When the extra ``onnx`` is needed and not installed.
    """
    check_known("ticket format", format, get_args(TicketFormat))
    if format == "onnx":
        check_onnx()
