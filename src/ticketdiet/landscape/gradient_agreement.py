"""Whether batches move a network the same way: the mean cosine between the gradients of batches of a subset.

The gradient that training follows normalises by the statistics of its batch. Running statistics lag far behind the
weights after a short training, and a gradient taken with them agrees almost fully whatever the batch; measured again at
the present weights they come near those of a batch, and still leave every example a gradient of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketdiet.core.errors import DataError, check_known
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.training.batch_norm import recalibrated
from ticketdiet.training.convolutions import safe_convolutions
from ticketdiet.training.evaluation import autocast, device_of, evaluating, prepared_chunks
from ticketdiet.training.recipe import Precision

AgreementBatchNorm = Literal["recalibrate", "eval"]


@dataclass(frozen=True)
class GradientAgreement:
    """Agreement between the gradients of batches.

    Attributes:
        name: What the batches were drawn from.
        mean_cosine: Mean cosine over all pairs of disjoint batches, in [-1, 1].
        mean_norm: Mean length of a batch's gradient.
        batches: Batches that are disjoint at once.
        rounds: How often batches were drawn.
        batch_size: Examples per batch.
        batch_norm: Whose running statistics BatchNorm had.
    """

    name: str
    mean_cosine: float
    mean_norm: float
    batches: int
    rounds: int
    batch_size: int
    batch_norm: AgreementBatchNorm


def gradient_agreement(
    model: nn.Module,
    images: Images,
    subsets: Mapping[str, np.ndarray],
    *,
    batches: int = 20,
    batch_size: int = 128,
    precision: Precision = "float32",
    batch_norm: AgreementBatchNorm = "recalibrate",
    seed: int = 0,
) -> tuple[GradientAgreement, ...]:
    """Compare how well the gradients of batches agree, between subsets, at the present weights.

    All subsets are treated alike: equally many batches of equal size, no augmentation, the same running statistics of
    BatchNorm, gradients of the mean cross-entropy over all parameters that need one. Batches that are compared have no
    example in common: drawn with overlap, those of a small subset would agree more for its size alone.

    Args:
        model: A classifier; left as it was.
        images: The data set: what batches are drawn from, and what statistics are recalibrated on.
        subsets: Name -> indices, for example ``{"all": np.arange(n), "easiest": ...}``.
        batches: Batches per subset, at least 2. As many as are disjoint in the smallest subset are drawn at a time,
            until there are at least that many.
        batch_size: Examples per batch.
        precision: Precision of the passes.
        batch_norm: ``"recalibrate"``: BatchNorm's running statistics measured again on ``images``; ``"eval"``: those
            that training left. Networks without BatchNorm give the same under both.
        seed: Seed of the draws.

    Returns:
        One value per subset, in their order.

    Raises:
        UnknownName: For another BatchNorm mode.
        DataError: When a subset is smaller than two batches, or fewer than two batches are asked for.
    """
    check_known("BatchNorm mode", batch_norm, get_args(AgreementBatchNorm))
    smallest = min((len(subset) for subset in subsets.values()), default=0)
    if batches < 2 or not 1 <= batch_size <= smallest // 2:
        raise DataError(
            f"The smallest subset has {smallest} examples, for {batches} batches of {batch_size}.",
            expected="at least two batches, two of them disjoint in the smallest subset",
            way_out=f"a batch_size of at most {smallest // 2}",
        )
    disjoint = min(batches, smallest // batch_size)
    rounds = math.ceil(batches / disjoint)
    results = []
    statistics = (
        nullcontext()
        if batch_norm != "recalibrate"
        else recalibrated(model, images, precision=precision, sparse_kernels="off")
    )
    with statistics, evaluating(model), safe_convolutions(model), autocast(device_of(model), precision):
        for name, subset in subsets.items():
            draws = numpy_generator(seed, "agreement")
            cosines, norms = [], list[float]()
            for _ in range(rounds):
                drawn = draws.permutation(np.asarray(subset))[: disjoint * batch_size].reshape(disjoint, batch_size)
                cosine, lengths = _agreement(_gradient(model, images.take(indices)) for indices in drawn)
                cosines.append(cosine)
                norms += lengths
            mean_cosine, mean_norm = float(np.mean(cosines)), float(np.mean(norms))
            results.append(GradientAgreement(name, mean_cosine, mean_norm, disjoint, rounds, batch_size, batch_norm))
    return tuple(results)


def _agreement(gradients: Iterable[Tensor]) -> tuple[float, list[float]]:
    """Return the mean cosine over pairs of gradients, and the length of each."""
    # ||sum of unit vectors||^2 = batches + sum of cosines over ordered pairs: one vector is enough to keep.
    total: Tensor | None = None
    norms = []
    for gradient in gradients:
        norm = gradient.norm()
        unit = gradient / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        total = unit if total is None else total.add_(unit)
        norms.append(float(norm))
    assert total is not None
    nonzero = sum(norm > 0 for norm in norms)
    return (float(total.square().sum()) - nonzero) / (len(norms) * (len(norms) - 1)), norms


def _gradient(model: nn.Module, images: Images) -> Tensor:
    """Return the gradient of the mean loss, float64 (parameters,), flat."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    ((inputs, labels),) = prepared_chunks(images, len(images), device_of(model))
    loss = F.cross_entropy(model(inputs).float(), labels)
    return torch.cat([part.flatten().double() for part in torch.autograd.grad(loss, parameters)])
