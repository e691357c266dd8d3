"""What looking at a store finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Status:
    """How a result stands.

    Attributes:
        state: ``"missing"``, ``"done"`` or ``"damaged"``.
        reason: What is wrong with a damaged one.
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
    """What a collection freed, or would free.

    Attributes:
        addresses: Results that nothing keeps.
        leftovers: Paths of interrupted writes, damaged results and partial states.
        bytes: Size of both together.
        drivers: Running drivers on the store, in words.
        spared: Number of results that stay only because one of them reaches them.
    """

    addresses: tuple[str, ...]
    leftovers: tuple[str, ...]
    bytes: int
    drivers: tuple[str, ...] = ()
    spared: int = 0
