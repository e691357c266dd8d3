"""What a score is: a class with one verb, registered under a name, oriented so that high means hard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import nn

from ticketdiet.core.errors import DataError
from ticketdiet.core.registry import Registry
from ticketdiet.core.values import Images
from ticketdiet.scores.recorder import TrainingRecorder
from ticketdiet.training.recipe import Precision

BatchNormMode = Literal["eval", "lth_diet"]
Needs = Literal["nothing", "model", "training"]

SCORES: Registry[type[Score]] = Registry("score")


@dataclass(frozen=True)
class ScoreOptions:
    """What a score may depend on besides images and a network.

    Attributes:
        batch_size: Images a forward pass. With BatchNorm in eval mode it only affects speed and last bits.
        precision: ``"float32"``, or ``"bfloat16"`` autocast.
        batch_norm: ``"eval"``, or ``"lth_diet"``: BatchNorm in train mode on class-sorted batches, as a public notebook
            did by accident; only to compare with it.
        values: float (n,) or (models, n), for scores made of given numbers (``barrier``).
        path: A file with one number an example, for ``file``.
        column: Column of that file, if it has several.
        clusters: Prototypes of ``prototype``; None: as many as classes.
    """

    batch_size: int = 500
    precision: Precision = "float32"
    batch_norm: BatchNormMode = "eval"
    values: np.ndarray | None = None
    path: str | None = None
    column: str | None = None
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
            raise DataError("no network to score with.", expected="a trained network", way_out="give model=")
        return self.model


class Score:
    """A score. Override ``score``; register the class under a name in ``SCORES``.

    Attributes:
        needs: ``"model"``: a trained network; ``"training"``: the record of a whole training; or ``"nothing"``.
        may_be_infinite: Whether +inf is a legal value (it means hardest).
        knows_batch_norm: Whether ``options.batch_norm`` decides what it gives; another mode than ``"eval"`` is refused
            otherwise, lest it be recorded with a score that it had no part in.
    """

    needs: Needs = "model"
    may_be_infinite = False
    knows_batch_norm = False

    def score(self, subject: Subject) -> np.ndarray:
        """Return float of shape (n,), in the order of the images; high means hard."""
        raise NotImplementedError


def check_scores(values: np.ndarray, count: int, *, source: str, may_be_infinite: bool = False) -> np.ndarray:
    """Return ``values`` as float32 of shape (n,) if they are usable scores of ``count`` examples.

    Raises:
        DataError: For another shape or dtype, NaN, -inf, or +inf where it means nothing.
    """
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in "fiub":
        raise DataError(
            f"{source} has shape {array.shape} and dtype {array.dtype}, for {count} examples.",
            expected=f"numbers of shape ({count},), one an example in the order of the data set",
            way_out="score exactly the examples of this data set",
        )
    array = array.astype(np.float32)
    allowed = np.isfinite(array) | ((array == np.inf) if may_be_infinite else False)
    if not allowed.all():
        bad = np.flatnonzero(~allowed)
        raise DataError(
            f"{source} holds {len(bad)} values that are no score, the first {array[bad[0]]} at example {bad[0]}.",
            expected="finite numbers" + (", or +inf for the hardest" if may_be_infinite else ""),
            way_out="train less aggressively or in float32 if a network diverged; correct the file if it is one",
        )
    return array
