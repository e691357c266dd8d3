"""Conversion of tensors and documents to bytes and back, by safetensors and JSON, never by pickle."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ticketdiet.core.errors import UserError

USUAL_HEADER, MOST_HEADER = 1 << 16, 1 << 22  # bytes of a safetensors file before its tensors


@dataclass(frozen=True)
class Partial:
    """The state of a stage that was interrupted.

    Attributes:
        tensors: Weights, momentum and all other tensors that the stage needs to continue, by name.
        document: Step, trace and all other values that it needs, JSON-able.
    """

    tensors: dict[str, Tensor]
    document: Any


def encode_tensors(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Write tensors as safetensors; dtype, shape and every bit of the values are kept, strides and device are not.

    Args:
        tensors: Tensors by name.
        metadata: Texts for the header of the file.

    Returns:
        The content of a safetensors file.

    Raises:
        UserError: When a tensor has a dtype or layout that safetensors does not know.
    """
    try:
        # The format refuses tensors that share memory, and views are common in state dicts.
        own = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        return bytes(save(own, metadata))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        kinds = sorted({str(tensor.dtype) for tensor in tensors.values()})
        raise UserError(
            f"Tensors of {', '.join(kinds)} cannot be stored: {error}.",
            expected="dense tensors of real numbers, integers or booleans",
            way_out="convert them before they are stored",
        ) from error


def decode_tensors(data: bytes) -> dict[str, Tensor]:
    """Read what ``encode_tensors`` wrote.

    Args:
        data: The content of a safetensors file.

    Returns:
        Tensors on the CPU, sorted by name, because the library returns them in varying order.

    Raises:
        ValueError: When it cannot be read as tensors.
    """
    try:
        return dict(sorted(load(data).items()))
    except (SafetensorError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"it contains no tensors: {error}") from error


def encode_document(document: object) -> bytes:
    """Write a JSON-able value; NaN and infinities are kept as Python's ``json`` writes them."""
    return json.dumps(document, indent=1).encode()


def decode_document(data: bytes) -> Any:
    """Read what ``encode_document`` wrote.

    Args:
        data: JSON in UTF-8.

    Returns:
        The value.

    Raises:
        ValueError: When it is not JSON, or is nested so deeply that it cannot be read.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def pack_document(document: object) -> bytes:
    """Write a JSON-able value as compressed JSON; equal values give equal bytes."""
    return gzip.compress(json.dumps(document).encode(), mtime=0)


def unpack_document(data: bytes, most_bytes: int) -> Any:
    """Read what ``pack_document`` wrote.

    Args:
        data: The compressed JSON.
        most_bytes: Size that the JSON may have.

    Returns:
        The value.

    Raises:
        ValueError: When it is damaged or larger.
    """
    try:
        with gzip.open(io.BytesIO(data)) as file:
            text = file.read(most_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it cannot be decompressed: {error}") from error
    if len(text) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return decode_document(text)


def encode_partial(partial: Partial, address: str) -> bytes:
    """Write the state of the interrupted stage ``address`` as one safetensors file that carries its own checksum."""
    text = json.dumps(partial.document)
    checksum = _checksum(partial.tensors, text, address)
    return encode_tensors(partial.tensors, {"document": text, "checksum": checksum})


def decode_partial(data: bytes, address: str) -> Partial | None:
    """Read what ``encode_partial`` wrote; None when it was truncated or changed, or belongs to another stage."""
    try:
        tensors = decode_tensors(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        if metadata["checksum"] != _checksum(tensors, metadata["document"], address):
            return None
        return Partial(tensors, decode_document(metadata["document"].encode()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def decode_partial_document(read: Callable[[int], bytes]) -> Any:
    """Read the document of what ``encode_partial`` wrote, without the tensors behind it and so without its checksum.

    Args:
        read: Returns the first bytes of the content, at most as many as it is asked for.

    Returns:
        The document; None when it cannot be read.
    """
    start = read(USUAL_HEADER)
    size = 8 + int.from_bytes(start[:8], "little")
    if len(start) == USUAL_HEADER < size <= MOST_HEADER:
        start = read(size)
    try:
        return decode_document(json.loads(start[8:size])["__metadata__"]["document"].encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _checksum(tensors: Mapping[str, Tensor], text: str, address: str) -> str:
    digest = hashlib.sha256(f"{address}\x1f{text}".encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\x1f{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        # Bytes, because numpy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
