"""What checks and collections of a store find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Status:
    """The state of a result.

    Attributes:
        state: ``"missing"``, ``"done"`` or ``"damaged"``.
        reason: Why a damaged one cannot be used; otherwise empty.
    """

    state: Literal["missing", "done", "damaged"]
    reason: str = ""


@dataclass(frozen=True)
class Problem:
    """A result that does not match its checksums."""

    address: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """What a collection removed, or would remove.

    Attributes:
        addresses: Results that nothing needs.
        leftovers: Paths of interrupted writes, damaged results and partial states.
        bytes: Size of both together.
        drivers: Labels of the drivers that run on the store.
        spared: Number of results that are kept only because one of these drivers needs them.
    """

    addresses: tuple[str, ...]
    leftovers: tuple[str, ...]
    bytes: int
    drivers: tuple[str, ...] = ()
    spared: int = 0
