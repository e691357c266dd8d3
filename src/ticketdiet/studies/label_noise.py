"""Which labels a stage sees: as they came, or with wrong ones drawn or given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ticketdiet.data.noise import NoisyLabels, make_noisy


@dataclass(frozen=True)
class SeenNoise:
    """Label noise that a stage sees.

    Attributes:
        kind: Registered name of the kind.
        options: Its options, defaults written out; the path of a file is no part of them.
        file: SHA-256 of the file of given labels, or None.
        seed: Seed of the draw; None where nothing is drawn.
    """

    kind: str
    options: Mapping[str, Any]
    file: str | None
    seed: int | None

    def apply(self, clean: np.ndarray, num_classes: int, path: str | None) -> NoisyLabels:
        """Return the labels to train on.

        Args:
            clean: int64 (n,), the labels as they came.
            num_classes: Number of classes.
            path: Where the file of given labels lies.

        Raises:
            DataError: When the given labels do not fit.
        """
        options = dict(self.options) | ({} if self.file is None else {"path": path})
        return make_noisy(clean, self.kind, num_classes=num_classes, seed=self.seed or 0, options=options)
