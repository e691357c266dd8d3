"""Tickets in files: safetensors, or torch's format holding nothing but tensors and plain values. Nothing is unpickled.

A folder holds one ticket: ``ticket.safetensors`` or ``ticket.pt``, and its model card.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.reading import open_regular
from ticketdiet.core.writing import writing
from ticketdiet.tickets.portable import PortableTicket, assemble, read_facts
from ticketdiet.tickets.torch_files import load_plain

SAFETENSORS, TORCH = "ticket.safetensors", "ticket.pt"
_FACTS, _WEIGHTS, _MASK = "ticketdiet", "weights.", "mask."


def save_ticket(path: str | os.PathLike[str], ticket: PortableTicket) -> None:
    """Write a ticket into one file.

    ``.safetensors``: tensors ``weights.NAME`` and ``mask.NAME``, and the facts as JSON under ``ticketdiet`` in the
    metadata. ``.pt``: a dictionary of ``weights``, ``mask`` and ``facts``, which ``torch.load`` reads with
    ``weights_only=True``. Missing folders are made.

    Args:
        path: The file, by whose ending the format is chosen.
        ticket: What to write.

    Raises:
        DataError: For another ending.
        UserError: When the file cannot be written.
    """
    weights, mask = _plain(ticket.weights), _plain(ticket.mask)
    facts = ticket.facts.model_dump(mode="json")
    ending = _ending(path)
    with writing(path):
        if ending == ".pt":
            torch.save({"weights": weights, "mask": mask, "facts": facts}, path)
            return
        tensors = {_WEIGHTS + name: value for name, value in weights.items()}
        tensors |= {_MASK + name: value for name, value in mask.items()}
        save_file(tensors, path, metadata={_FACTS: json.dumps(facts)})


def load_ticket(path: str | os.PathLike[str], *, make: Callable[..., nn.Module] | None = None) -> PortableTicket:
    """Read a ticket that ``ticketdiet export`` or ``save_ticket`` wrote.

    The file may come from anybody: nothing in it is unpickled or executed, and no module that it names is imported.

    Args:
        path: The file, or the folder that holds it.
        make: Function that makes the network, where that is somebody's own and not of this package. It is called with
            those of ``num_classes``, ``in_channels``, ``image_size`` and ``width`` that it accepts.

    Returns:
        The network on the CPU in eval mode, its mask and what is known about it.

    Raises:
        DataError: When there is no such file, or it holds no ticket.
        UserError: When the network is somebody's own and ``make`` is missing or fails.

    Example:
        >>> ticket = load_ticket("my-ticket")  # doctest: +SKIP
        >>> ticket.module, ticket.mask, ticket.facts.density  # doctest: +SKIP
    """
    file = _find(Path(path))
    ending = _ending(file)
    try:
        open_regular(file).close()  # reading a pipe or a device would wait
        weights, mask, facts = _read_torch(file) if ending == ".pt" else _read_safetensors(file)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"{file} cannot be read as a ticket: {_reason(error)}.",
            expected="a file that `ticketdiet export --to safetensors` or `--to torch` wrote",
            way_out="export it again; objects other than tensors and plain values are never loaded",
        ) from None
    return assemble(read_facts(facts, str(file)), weights, mask, str(file), make)


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
    with safe_open(file, framework="pt", device="cpu") as opened:
        facts = json.loads((opened.metadata() or {})[_FACTS])
        names = opened.keys()
        tensors = {name: opened.get_tensor(name) for name in names}
    return _under(_WEIGHTS, tensors), _under(_MASK, tensors), facts


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
    found = load_plain(file)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}")
    parts = [found["weights"], found["mask"]]
    for part in parts:
        if not isinstance(part, dict) or not all(map(_is_plain, part.items())):
            raise ValueError("its weights or its mask are no dictionary of plain tensors by name")
    return {**parts[0]}, {**parts[1]}, found["facts"]


def _is_plain(entry: tuple[object, object]) -> bool:
    name, value = entry
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and not value.is_quantized and value.device.type == "cpu"


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in (SAFETENSORS, TORCH):
        if (path / name).exists():
            return path / name
    raise DataError(
        f"The folder {path} holds no ticket.",
        expected=f"a file {SAFETENSORS} or {TORCH} in it",
        way_out="name the folder that `ticketdiet export --out` wrote",
    )


def _ending(path: str | os.PathLike[str]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in (".safetensors", ".pt"):
        raise DataError(
            f"The name of {os.fspath(path)} " + (f"ends in {ending!r}." if ending else "has no ending."),
            expected="a name that ends in .safetensors or .pt",
            way_out="name the folder or file that `ticketdiet export` wrote; an .onnx file is for ONNX runtimes",
        )
    return ending


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'it is damaged'}"
