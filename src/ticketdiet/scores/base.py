"""What a score is: a class with one method, registered under a name, oriented so that high means hard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import nn

from ticketdiet.core.errors import DataError, check_known
from ticketdiet.core.registry import Registry
from ticketdiet.core.values import Images
from ticketdiet.data.prepare import KeptExamples
from ticketdiet.scores.modes import SCORE_BATCH_NORMS, ScoreBatchNorm
from ticketdiet.scores.recorder import TrainingRecorder
from ticketdiet.training.recipe import Precision

ScoreNeeds = Literal["nothing", "model", "training"]

SCORES: Registry[type[Score]] = Registry("score")


@dataclass(frozen=True)
class ScoreOptions:
    """What a score may depend on besides images and a network.

    Attributes:
        batch_size: Images per forward pass. It only affects speed and last bits, except under ``"lth_diet"``.
        precision: ``"float32"``, or ``"bfloat16"`` autocast.
        batch_norm: ``"recalibrate"``: running statistics measured again on the images that are scored, so that they are
            those of the present weights after a training of any length; ``"eval"``: those that training left, which lag
            far behind after a short one; ``"lth_diet"``: BatchNorm in train mode on class-sorted batches, as a public
            notebook did by accident, only to compare with it. None is the first mode that the score knows
            (``"recalibrate"``), or no mode for a score that does not depend on BatchNorm.
        values: float (n,) or (models, n), for scores made of given numbers (``barrier``).
        path: A file with one number per example, for ``file``.
        column: Column of that file, if it has several.
        kept: Which examples of the data set's own training set are scored, for a file in that order; None for all.
        clusters: Prototypes of ``prototype``; None: as many as classes.
    """

    batch_size: int = 500
    precision: Precision = "float32"
    batch_norm: ScoreBatchNorm | None = None
    values: np.ndarray | None = None
    path: str | None = None
    column: str | None = None
    kept: KeptExamples | None = None
    clusters: int | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """What a score looks at.

    Attributes:
        images: The images to score, un-augmented.
        model: A trained network, or None for scores that need none.
        recorder: What was recorded while it trained, or None.
        seed: Seed of whatever the score draws.
        options: Everything else.
    """

    images: Images
    model: nn.Module | None = None
    recorder: TrainingRecorder | None = None
    seed: int = 0
    options: ScoreOptions = field(default_factory=ScoreOptions)

    def trained(self) -> nn.Module:
        """Return the network.

        Raises:
            DataError: When there is none.
        """
        if self.model is None:
            raise DataError(
                "This score needs a network, and there is none.", expected="a trained network", way_out="give model="
            )
        return self.model


class Score:
    """A score. Override ``score``; register the class under a name in ``SCORES``.

    Attributes:
        needs: ``"model"``: a trained network; ``"training"``: the record of a whole training; or ``"nothing"``.
        may_be_infinite: Whether +inf is a legal value (it means hardest).
        batch_norms: Values of ``options.batch_norm`` that decide what it gives, its default first; all others
            are refused, so that no mode is recorded for a score that it cannot affect. A score that is read from the
            record of a training does not depend on them.
    """

    needs: ScoreNeeds = "model"
    may_be_infinite = False
    batch_norms: tuple[ScoreBatchNorm, ...] = ()

    def score(self, subject: Subject) -> np.ndarray:
        """Return float of shape (n,), in the order of the images; high means hard."""
        raise NotImplementedError


def resolve_batch_norm(
    score: Score, kind: str, mode: ScoreBatchNorm | None, *, recorded: bool
) -> ScoreBatchNorm | None:
    """Return the BatchNorm mode that a score is computed in: the one asked for, or by default the first it knows.

    Args:
        score: The score.
        kind: Its name, for messages.
        mode: The mode asked for, or None for the default.
        recorded: Whether there is a record of a training to read it from.

    Returns:
        The mode, or None for a score that does not depend on BatchNorm.

    Raises:
        UnknownName: For a mode that does not exist.
        DataError: For a mode that has no effect on this score, or in which it has no meaning.
    """
    known = () if recorded and score.needs == "training" else score.batch_norms
    if mode is None:
        return known[0] if known else None
    check_known("BatchNorm mode", mode, SCORE_BATCH_NORMS)
    if mode in known:
        return mode
    if known:
        raise DataError(
            f"The score {kind!r} cannot be computed with batch_norm={mode!r}.",
            expected=f"one of {', '.join(known)}",
            way_out="leave batch_norm out, or choose another score",
        )
    raise DataError(
        f"The mode batch_norm={mode!r} has no effect on the score {kind!r}.",
        expected="a BatchNorm mode only for scores that are computed from a forward pass",
        way_out="leave batch_norm out",
    )


def usable_scores(values: np.ndarray, count: int, *, source: str, may_be_infinite: bool = False) -> np.ndarray:
    """Return ``values`` as float32 of shape (n,) if they are usable scores of ``count`` examples.

    Args:
        values: What a score gave.
        count: Number of examples (n).
        source: Where the values come from, as the beginning of a sentence.
        may_be_infinite: Whether +inf is a legal value.

    Returns:
        A new array.

    Raises:
        DataError: For another shape or dtype, NaN, -inf, or +inf where it means nothing.
    """
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in "fiub":
        raise DataError(
            f"{source} has the shape {array.shape} and the dtype {array.dtype}.",
            expected=f"numbers of shape ({count},), one per example, in the order of the data set",
            way_out="score exactly the examples of this data set",
        )
    array = array.astype(np.float32)
    allowed = np.isfinite(array) | ((array == np.inf) if may_be_infinite else False)
    if not allowed.all():
        bad = np.flatnonzero(~allowed)
        raise DataError(
            f"{source} holds {len(bad)} values that are not scores; the first is {array[bad[0]]} at example {bad[0]}.",
            expected="finite numbers" + (", or +inf for the hardest" if may_be_infinite else ""),
            way_out="if a network has diverged, lower the learning rate or train in float32; correct a file",
        )
    return array
