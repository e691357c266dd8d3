"""Scores that are given or drawn: a file of your own, measured barriers, chance; and the permuted control."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Scores
from ticketdiet.scores.base import SCORES, Score, ScoreNeeds, Subject
from ticketdiet.scores.files import read_values


@SCORES.register("random")
class RandomScore(Score):
    """Uniform in [0, 1), as a control for every other score: nothing is hard."""

    needs: ScoreNeeds = "nothing"

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,)."""
        return numpy_generator(subject.seed, "score", "random").random(len(subject.images), dtype=np.float32)


@SCORES.register("barrier")
class BarrierScore(Score):
    """Per-example loss barrier between two networks in nats, as ``measure_family`` gives it.

    High means hard as it is: easy examples connect first (Paul et al. 2022, arXiv 2206.01278, section 5), so that the
    paper's lowest-barrier subset is ``easiest`` and the highest-barrier one ``hardest``. Negative barriers are kept.
    ``options.values`` is float (n,), or (pairs, n), which is averaged.
    """

    needs: ScoreNeeds = "nothing"

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,)."""
        if subject.options.values is None:
            raise DataError(
                "The score 'barrier' needs barriers, and there are none.",
                expected="one barrier per example in nats",
                way_out="measure them with measure_barrier and give values=barrier.per_example",
            )
        values = np.asarray(subject.options.values)
        return values.mean(axis=0) if values.ndim == 2 else values


@SCORES.register("file")
class FileScore(Score):
    """Numbers of your own from ``.npy``, ``.csv`` or ``.parquet``, where high has to mean hard; +inf is allowed."""

    needs: ScoreNeeds = "nothing"
    may_be_infinite = True

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,)."""
        options = subject.options
        if options.path is None:
            raise DataError(
                "The score 'file' needs a file, and there is none.",
                expected="path=...",
                way_out="name a .npy, .csv or .parquet file",
            )
        return read_values(options.path, len(subject.images), column=options.column, kept=options.kept)


def permute_scores(scores: Scores, seed: int = 0) -> Scores:
    """Return the same scores given to other examples at random: a control that keeps their distribution.

    All models are permuted alike, so that the mean is permuted too.

    Args:
        scores: What to permute.
        seed: Seed of the permutation.

    Returns:
        The permuted scores; how they were made says so.
    """
    order = numpy_generator(seed, "score", "permuted").permutation(len(scores))
    return replace(scores, matrix=scores.matrix[:, order], provenance={**scores.provenance, "permuted": seed})
