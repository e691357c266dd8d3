"""EL2N: the length of the error vector."""

from __future__ import annotations

import numpy as np
import torch

from ticketdiet.scores.base import SCORES, Score, Subject
from ticketdiet.scores.forward import run_forward
from ticketdiet.scores.modes import SCORE_BATCH_NORMS
from ticketdiet.scores.pointwise import error_vectors


@SCORES.register("el2n")
class El2n(Score):
    """||softmax(f(x)) - onehot(y)||_2, not squared, early in training, in [0, sqrt(2)]; high means hard.

    Paul et al. 2021, "Deep Learning on a Data Diet", arXiv 2107.07075, definition 2.2, there and in arXiv 2206.01278
    averaged over independently trained networks. Images are not augmented. BatchNorm is in eval mode, by default with
    recalibrated statistics: after 40 steps the ones that training left rank other examples as easy.
    """

    batch_norms = SCORE_BATCH_NORMS

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,)."""
        logits = run_forward(subject.trained(), subject.images, subject.options).logits
        errors = error_vectors(logits, subject.images.labels.cpu())
        return np.asarray(torch.linalg.vector_norm(errors, dim=1).numpy())
