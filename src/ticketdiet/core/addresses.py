"""Addresses: a result is identified by the hash of everything in its study that can change a number in it.

Where and how it is computed (workers, threads, CPU, device, location of the data) is not part of the hash, although
threads and CPU change the last bit of a sum and training amplifies that: equal addresses promise equal bits on one kind
of machine, and the same distribution on others. Defaults are written out in full, so that an old result is never reused
under a changed default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

ADDRESS_DIGITS = 24
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(value: object) -> str:
    """Write ``value`` as JSON with sorted keys and no spaces; NaN and infinities are refused."""
    return _CANONICAL.encode(value)


def address_of(kind: str, version: int, spec: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """Return the address of a result, the first digits of a SHA-256.

    Args:
        kind: Stage kind, for example ``"level"``.
        version: Version of the stage's code; it is raised whenever the same spec gives other numbers.
        spec: JSON-able fields that can change a number.
        inputs: Addresses of the results it consumes, by role.

    Returns:
        ``ADDRESS_DIGITS`` hexadecimal digits.
    """
    identity = {"kind": kind, "version": version, "spec": dict(spec), "inputs": dict(inputs)}
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:ADDRESS_DIGITS]
