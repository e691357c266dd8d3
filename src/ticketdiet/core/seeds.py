"""Seeds by hashing: every random choice is a pure function of (seed, role, indices).

Initialisation, data order, augmentation and subset are four independent sources. Their seeds are derived by SHA-256
instead of arithmetic, because arithmetic collides (42 * (3 + 1) == 84 * (1 + 1)). No global generator is changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from operator import index

import numpy as np
import torch

SEED_BITS = 63


def derive_seed(seed: int, *parts: int | str) -> int:
    """Derive a 63-bit seed from ``seed`` and a path of names and indices.

    Args:
        seed: The seed of the study, or a derived one.
        *parts: Role and indices, for example ``"order", replicate, epoch``. ``1`` and ``"1"`` differ.

    Returns:
        An integer in ``[0, 2**63)``; equal inputs give equal seeds on every platform.
    """
    text = "\x1f".join(f"str:{part}" if isinstance(part, str) else f"int:{index(part)}" for part in (seed, *parts))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def numpy_generator(seed: int, *parts: int | str) -> np.random.Generator:
    """Make a local numpy generator for ``derive_seed(seed, *parts)``.

    The bit generator is Philox: numpy promises that its stream never changes, and it is cheap to start anywhere.

    Args:
        seed: As for ``derive_seed``.
        *parts: As for ``derive_seed``.

    Returns:
        A new generator at the start of its stream.
    """
    return np.random.Generator(np.random.Philox(key=derive_seed(seed, *parts)))


def torch_generator(seed: int, *parts: int | str) -> torch.Generator:
    """Make a local torch generator on the CPU for ``derive_seed(seed, *parts)``."""
    return torch.Generator().manual_seed(derive_seed(seed, *parts))


@dataclass(frozen=True)
class RunSeeds:
    """The seeds of one training run: the sources that differ between replicates, and between children of a point.

    Attributes:
        initialisation: Seed of the initial weights.
        order: Seed of the data order, one permutation per epoch.
        augmentation: Seed of crops and flips, one draw per epoch.
    """

    initialisation: int
    order: int
    augmentation: int

    @classmethod
    def of(cls, seed: int, replicate: int) -> RunSeeds:
        """Derive the seeds of a replicate; all three differ between replicates."""
        return cls(
            initialisation=derive_seed(seed, "initialisation", replicate),
            order=derive_seed(seed, "order", replicate),
            augmentation=derive_seed(seed, "augmentation", replicate),
        )

    def child(self, index: int, vary: tuple[str, ...] = ("order", "augmentation")) -> RunSeeds:
        """Derive the seeds of child ``index`` (from 1); only those named in ``vary`` differ from the parent's."""
        return RunSeeds(
            initialisation=self.initialisation,
            order=derive_seed(self.order, "child", index) if "order" in vary else self.order,
            augmentation=(
                derive_seed(self.augmentation, "child", index) if "augmentation" in vary else self.augmentation
            ),
        )
