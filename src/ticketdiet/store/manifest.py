"""The manifest of a result: what it is, what it came from, and the checksums of its files.

It is written last, so a result without one does not exist, and it carries a checksum of itself, so a manifest that was
cut, edited or belongs elsewhere is never believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileRecord:
    """One file of a result, as it was when written.

    Attributes:
        path: Where it lies in the result's directory; on object stores not its plain name, see ``bucket.py``.
        bytes: Its size.
        sha256: Checksum of its content, 64 hexadecimal digits.
        mtime_ns: Its modification time on a local file system, in nanoseconds; None elsewhere.
    """

    path: str
    bytes: int
    sha256: str
    mtime_ns: int | None = None


@dataclass(frozen=True)
class Manifest:
    """What a stored result says about itself.

    Attributes:
        address: Its identity, 24 hexadecimal digits.
        kind: Stage kind, for example ``"level"``.
        spec: Every field that could change a number in it.
        inputs: Addresses of the results it consumed, by role.
        provenance: Versions, machine and times; no part of the identity.
        files: Its files by name (``<stem>.safetensors``, ``<stem>.json``).
        format: Version of this layout.
    """

    address: str
    kind: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]
    provenance: Mapping[str, Any]
    files: Mapping[str, FileRecord]
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files together, without the manifest."""
        return sum(record.bytes for record in self.files.values())

    def to_bytes(self) -> bytes:
        """Write the manifest, with a checksum of itself."""
        body = asdict(self)
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1, sort_keys=True).encode()


class ManifestError(ValueError):
    """A manifest that cannot be believed; the message says why."""


def parse_manifest(data: bytes, address: str) -> Manifest:
    """Read the manifest of ``address``.

    Raises:
        ManifestError: When it is cut, altered, of a newer format, or of another result.
    """
    try:
        body = json.loads(data)
        claimed = body.pop("checksum")
        if body["format"] > FORMAT:
            raise ManifestError(f"its manifest has format {body['format']}, this version reads up to {FORMAT}")
        if claimed != _checksum(body):
            raise ManifestError("its manifest does not match its own checksum")
        files = {name: FileRecord(**record) for name, record in body.pop("files").items()}
        manifest = Manifest(files=files, **body)
    except ManifestError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError("its manifest cannot be read") from error
    if manifest.address != address:
        raise ManifestError(f"its manifest belongs to {manifest.address}")
    return manifest


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
