"""A ticket as an ONNX file, for runtimes without PyTorch. It needs the extra ``onnx``."""

from __future__ import annotations

import json
import os

import torch

from ticketdiet.core.extras import import_extra
from ticketdiet.core.writing import writing
from ticketdiet.tickets.portable import PortableTicket

INPUT, OUTPUT, FACTS = "images", "logits", "ticketdiet"


def check_onnx() -> None:
    """Refuse to begin without what ``write_onnx`` needs.

    Raises:
        UserError: When the extra ``onnx`` is not installed.
    """
    for module in ("onnx", "onnxscript"):
        import_extra(module, "onnx", other="use --to safetensors or --to torch")


def write_onnx(path: str | os.PathLike[str], ticket: PortableTicket) -> None:
    """Write the network with its weights; removed ones are zeros, and the facts are JSON in the metadata.

    The input ``images`` has shape (batch, channels, height, width) with any batch, normalised as the module expects;
    the output ``logits`` has shape (batch, classes).

    Args:
        path: The file to write.
        ticket: What to write.

    Raises:
        UserError: When the extra ``onnx`` is not installed, or the file cannot be written.
    """
    check_onnx()
    network = ticket.facts.network
    example = torch.zeros(2, network.in_channels, network.image_size, network.image_size)
    dtype = next(ticket.module.parameters()).dtype
    with writing(path):
        program = torch.onnx.export(
            ticket.module,
            (example.to(dtype),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props[FACTS] = json.dumps(ticket.facts.model_dump(mode="json"))
        program.save(os.fspath(path), external_data=False)
