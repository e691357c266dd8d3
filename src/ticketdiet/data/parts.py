"""The two parts into which a subset divides a training set, to be evaluated separately during pre-training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ticketdiet.core.values import Images
from ticketdiet.data.checks import check_indices


def subset_splits(images: Images, indices: np.ndarray | Tensor | Sequence[int]) -> dict[str, Images]:
    """Divide images into a subset and the rest, for example to give both to an ``EvaluationObserver``.

    Args:
        images: The training images.
        indices: The subset: distinct integers of shape (size,).

    Returns:
        The parts ``"subset"`` and ``"rest"``, each in the order of the data set; an empty part is left out.

    Raises:
        DataError: When indices repeat or there is no image with that index.
    """
    chosen = check_indices(indices, np.arange(len(images)), at_least=0)
    inside = np.zeros(len(images), dtype=bool)
    inside[chosen] = True
    parts = {"subset": np.flatnonzero(inside), "rest": np.flatnonzero(~inside)}
    return {name: images.take(members) for name, members in parts.items() if members.size}
