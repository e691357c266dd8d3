"""The 1797 handwritten digits that come with scikit-learn: 8x8, grey, no download.

The split is always the same: 1297 for training and 500 for the test, drawn with a seed that no option changes. The
values 0..16 are scaled to 0..255 by ``round(255 * value / 16)``, halves up.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

import numpy as np

from ticketdiet.core.seeds import numpy_generator
from ticketdiet.data.decoded import Decoded, Progress
from ticketdiet.data.request import Request

NUM_TRAIN = 1297
_SPLIT_SEED = 0


class Digits:
    """The digits, always with the same split."""

    def identity(self) -> Mapping[str, object]:
        """The version of scikit-learn, which contains the digits."""
        return {"digits": metadata.version("scikit-learn")}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Scale to uint8 and split; the order within a split is that of scikit-learn."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        pixels = ((bunch.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
        labels = bunch.target.astype(np.int64)
        order = numpy_generator(_SPLIT_SEED, "digits", "split").permutation(len(labels))
        train, test = np.sort(order[:NUM_TRAIN]), np.sort(order[NUM_TRAIN:])
        names = tuple(str(digit) for digit in range(10))
        if progress is not None:
            progress(len(labels), len(labels))
        return Decoded(pixels[train], labels[train], pixels[test], labels[test], names)


def open_digits(request: Request) -> Digits:
    """Open the source ``digits``, which takes neither path nor options."""
    request.check(takes_path=False)
    return Digits()
