"""The manifest of a result: what it contains, where it came from, and the checksums of its files.

It is written last, so that a result without one does not exist. It is valid when three things are right: its checksum
of itself (it was not truncated or edited), its address, which is the hash of its kind, version, spec and inputs (it
belongs to no other result), and the type of every field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from ticketdiet.core.addresses import ADDRESS_DIGITS, address_of

FORMAT = 2
MANIFEST = "manifest.json"
MOST_BYTES = 1 << 22  # a manifest has a few kilobytes; a larger one is not read

Count = Annotated[int, Field(strict=True, ge=0)]
Address = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{ADDRESS_DIGITS}}}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.(safetensors|json)$")]


@dataclass(frozen=True)
class FileRecord:
    """One file of a result, in its state when it was written.

    Attributes:
        path: Its path in the directory of the result; on object stores not its plain name, see ``bucket.py``.
        bytes: Its size.
        sha256: Checksum of its content, 64 hexadecimal digits.
        mtime_ns: Time of the last change of its content on a local file system, in nanoseconds; None elsewhere.
        ctime_ns: Time of the last change of anything about it, in nanoseconds; only the file system can set it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: FileName
    bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mtime_ns: Annotated[int, Field(strict=True)] | None = None
    ctime_ns: Annotated[int, Field(strict=True)] | None = None


@dataclass(frozen=True)
class Manifest:
    """What a stored result contains and where it came from.

    Attributes:
        address: Its address, 24 hexadecimal digits: the hash of the next four.
        kind: Stage kind, for example ``"level"``.
        version: Version of the code of that kind.
        spec: Every field that could change a number in it.
        inputs: Addresses of the results it consumed, by role.
        provenance: Versions, machine and times; not part of the identity.
        files: Its files by name (``<stem>.safetensors``, ``<stem>.json``).
        format: Version of this layout.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    address: Address
    kind: Name
    version: Count
    spec: Mapping[str, Any]
    inputs: Mapping[str, Address]
    provenance: Mapping[str, Any]
    files: Mapping[FileName, FileRecord]
    format: Count = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files together, without the manifest."""
        return sum(record.bytes for record in self.files.values())

    def to_bytes(self) -> bytes:
        """Write the manifest, with a checksum of itself."""
        body = asdict(self)
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1, sort_keys=True).encode()


class ManifestError(ValueError):
    """A manifest is not valid; the message says why."""


def parse_manifest(data: bytes, address: str) -> Manifest:
    """Read the manifest of a result.

    Args:
        data: Content of the file.
        address: Address of the result.

    Returns:
        The manifest.

    Raises:
        ManifestError: When it was truncated or changed, has another format, belongs to another result, or ``address``
            is not the hash of its kind, version, spec and inputs.
    """
    try:
        body = _parse_json(data)
        claimed = body.pop("checksum")
        if body["format"] != FORMAT:
            raise ManifestError(f"its manifest has format {str(body['format'])[:20]}, but this version reads {FORMAT}")
        if claimed != _checksum(body):
            raise ManifestError("its manifest does not match its own checksum")
        manifest: Manifest = _ADAPTER.validate_python(body)
        identity = address_of(manifest.kind, manifest.version, manifest.spec, manifest.inputs)
    except ManifestError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError("its manifest cannot be read") from error
    except RecursionError as error:
        raise ManifestError("its manifest is nested too deeply") from error
    if manifest.address != address:
        raise ManifestError(f"its manifest belongs to {manifest.address}")
    if identity != address:
        raise ManifestError(f"the kind, version, spec and inputs in its manifest are those of {identity}")
    for name, record in manifest.files.items():
        if name == MANIFEST or record.path not in (name, prefixed(name, record.sha256)):
            raise ManifestError(f"its manifest says that {name} lies at {record.path}")
    return manifest


def prefixed(name: str, checksum: str) -> str:
    """Return a path that depends on the content, for places where a directory cannot be renamed."""
    return f"{checksum[:16]}-{name}"


def _parse_json(data: bytes) -> Any:
    return json.loads(data, parse_constant=_refuse, object_pairs_hook=_without_duplicates)


def _refuse(constant: str) -> None:
    raise ValueError(f"a manifest contains {constant}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a manifest has a duplicate key")
    return found


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_SORTED.encode(body).encode()).hexdigest()


_SORTED = json.JSONEncoder(sort_keys=True, allow_nan=False)
_ADAPTER = TypeAdapter(Manifest)
