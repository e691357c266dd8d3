"""GraNd: the length of an example's own gradient, of the whole network or of its last layer."""

from __future__ import annotations

import numpy as np
import torch

from ticketdiet.scores.base import SCORES, Score, Subject
from ticketdiet.scores.forward import run_forward, statistics
from ticketdiet.scores.gradient_norms import gradient_norms
from ticketdiet.scores.modes import SCORE_BATCH_NORMS
from ticketdiet.scores.pointwise import error_vectors
from ticketdiet.training.distributed import present_ranks
from ticketdiet.training.evaluation import device_of, prepared_chunks


@SCORES.register("grand")
class Grand(Score):
    """||d cross-entropy(f(x), y) / d all parameters||_2; high means hard.

    Paul et al. 2021, arXiv 2107.07075, definition 2.1, averaged over independently trained networks; un-augmented
    images, BatchNorm by running statistics, recalibrated or as training left them (by those of its batch, an example
    has no gradient of its own). Use it after some training: GraNd *at initialisation*, as first published, does not
    reproduce; the reported numbers came from a bug (Kirsch 2023, arXiv 2303.14753).
    """

    batch_norms = ("recalibrate", "eval")

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,)."""
        model, options, ranks = subject.trained(), subject.options, present_ranks()
        chunks = prepared_chunks(subject.images, options.batch_size, device_of(model), ranks=ranks)
        with statistics(model, subject.images, options):
            parts = [gradient_norms(model, x, y, precision=options.precision).cpu() for x, y in chunks]
        return np.asarray(ranks.collect(parts).numpy())


@SCORES.register("grand_last")
class GrandLast(Score):
    """GraNd of the last linear layer (weight and bias) alone, in one forward pass; high means hard.

    The gradient is the outer product of the error softmax(f(x)) - onehot(y) and the layer's input h, so its norm is
    ||error|| * sqrt(||h||^2 + 1): EL2N, weighted by the length of the features. On GraNd see ``grand``.
    """

    batch_norms = SCORE_BATCH_NORMS

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,)."""
        model = subject.trained()
        outputs = run_forward(model, subject.images, subject.options, with_features=True)
        errors = error_vectors(outputs.logits, subject.images.labels.cpu())
        last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
        lengths = outputs.features.square().sum(1) + (last.bias is not None)
        return np.asarray((errors.square().sum(1) * lengths).sqrt().numpy())
