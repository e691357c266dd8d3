"""Scores of training dynamics, all from one recorder that watches a training once.

``loss``, ``entropy``, ``margin`` and ``confidence`` are means over the visits of a training; without a training record
they are computed from one forward pass on un-augmented images. The others only exist over a training.
"""

from __future__ import annotations

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.scores.base import SCORES, Score, ScoreNeeds, Subject
from ticketdiet.scores.forward import run_forward
from ticketdiet.scores.modes import SCORE_BATCH_NORMS
from ticketdiet.scores.pointwise import Pointwise, pointwise


class DynamicsScore(Score):
    """A score that is read from a recorder; ``snapshot`` computes it for a single network, where that has a meaning."""

    kind: str
    needs: ScoreNeeds = "training"
    batch_norms = SCORE_BATCH_NORMS  # without a record it is computed from one forward pass, as el2n is

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,): from the record if there is one, from the network otherwise."""
        if subject.recorder is not None:
            return subject.recorder.scores(self.kind)
        outputs = run_forward(subject.trained(), subject.images, subject.options)
        return self.snapshot(pointwise(outputs.logits, subject.images.labels.cpu()))

    def snapshot(self, seen: Pointwise) -> np.ndarray:
        """Return the score of one network, float32 (n,).

        Args:
            seen: Quantities of one forward pass.

        Raises:
            DataError: When the score only exists over a training.
        """
        raise DataError(
            f"The score {self.kind!r} cannot be computed from a single trained network.",
            expected="the record of a training",
            way_out="use score_examples, or record a training of your own with TrainingRecorder",
        )


@SCORES.register("forgetting")
class Forgetting(DynamicsScore):
    """Changes from correct to wrong between successive visits (Toneva et al. 2019, arXiv 1812.05159, section 3).

    High means hard as it is. An example that was never correct is +inf, not 0.
    """

    kind = "forgetting"
    may_be_infinite = True


@SCORES.register("loss")
class Loss(DynamicsScore):
    """Mean cross-entropy in nats; high means hard."""

    kind = "loss"

    def snapshot(self, seen: Pointwise) -> np.ndarray:
        """Return the cross-entropy under one network."""
        return np.asarray(seen.loss.numpy())


@SCORES.register("entropy")
class Entropy(DynamicsScore):
    """Mean entropy of the prediction in nats; high (undecided) means hard. It ignores the label."""

    kind = "entropy"

    def snapshot(self, seen: Pointwise) -> np.ndarray:
        """Return the entropy of one network's prediction."""
        return np.asarray(seen.entropy.numpy())


@SCORES.register("margin")
class Margin(DynamicsScore):
    """Minus the mean of p(label) - max p(other), in [-1, 1]. Negated, so that high means hard."""

    kind = "margin"

    def snapshot(self, seen: Pointwise) -> np.ndarray:
        """Return the negated probability margin under one network."""
        return -np.asarray(seen.margin.numpy())


@SCORES.register("confidence")
class Confidence(DynamicsScore):
    """1 - mean p(label): the confidence of data maps (Swayamdipta et al. 2020, arXiv 2009.10795, section 2).

    Subtracted from 1, so that high means hard; in [0, 1].
    """

    kind = "confidence"

    def snapshot(self, seen: Pointwise) -> np.ndarray:
        """Return 1 - p(label) of one network."""
        return 1 - np.asarray(seen.confidence.numpy())


@SCORES.register("aum")
class Aum(DynamicsScore):
    """Minus the area under the margin, the mean over visits of z(label) - max z(other) with logits z.

    Pleiss et al. 2020, arXiv 2001.10528, equation 1. Negated, so that high means hard (or mislabelled).
    """

    kind = "aum"


@SCORES.register("variance")
class Variance(DynamicsScore):
    """Population variance of p(label) over visits, in [0, 1/4].

    Data maps (Swayamdipta et al. 2020, arXiv 2009.10795, section 2) show its square root as variability. High (the
    network keeps changing its mind) means hard as it is; what is always wrong has a low variance, so prefer another
    score to find mislabelled examples.
    """

    kind = "variance"
