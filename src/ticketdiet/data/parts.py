"""The two parts that a subset divides a training set into, to be evaluated apart along a pre-training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.core.values import Images


def subset_splits(images: Images, indices: np.ndarray | Tensor | Sequence[int]) -> dict[str, Images]:
    """Divide images into a subset and the rest, for example to give both to an ``EvaluationObserver``.

    Args:
        images: The training images.
        indices: Distinct whole numbers of shape (size,): the subset.

    Returns:
        ``"subset"`` and ``"rest"``, each in the order of the data set; a part without examples is left out.

    Raises:
        DataError: For indices that repeat or name no image.
    """
    chosen = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
    count = len(images)
    legal = chosen.ndim == 1 and (not chosen.size or (chosen.dtype.kind in "iu" and chosen.min() >= 0))
    if not legal or (chosen.size and chosen.max() >= count) or len(np.unique(chosen)) < chosen.size:
        raise DataError(
            f"a subset of shape {chosen.shape} and dtype {chosen.dtype} of {count} images, with indices that "
            "repeat or name no image.",
            expected=f"distinct indices in [0, {count - 1}]",
            way_out="choose the subset from these images, for example with choose_subset",
        )
    inside = np.zeros(count, dtype=bool)
    inside[chosen.astype(np.int64)] = True
    parts = {"subset": np.flatnonzero(inside), "rest": np.flatnonzero(~inside)}
    return {name: images.take(members) for name, members in parts.items() if members.size}
