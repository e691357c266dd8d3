"""A stage: the smallest piece of work that is planned, stored and resumed. A value that can be sent anywhere.

Its address is the hash of its kind, the version of that kind's code, every field that can change a number, and the
addresses of its inputs. Where the images lie and who uses the result are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ticketdiet.core.addresses import address_of
from ticketdiet.studies.parts import DatasetSpec

# Raise a number when the same spec would give other results; golden tests hold the addresses.
VERSIONS: Mapping[str, int] = {
    "score_model": 2,
    "score": 1,
    "subset": 1,
    "pretrain": 2,
    "level": 1,
    "control": 2,
    "child": 1,
    "barrier": 2,
}


@dataclass(frozen=True)
class Use:
    """Who in the study uses a stage: arm, replicate and level, for people and tables.

    Attributes:
        arm: Name of the arm; the name of the score for scoring stages.
        replicate: From 0; -1 where it has no meaning, as for scores that all replicates share.
        level: From 0; -1 where it has no meaning.
        through: The arm only passes through this stage on its way, and its measurements are not the arm's.
        model: Index of the model of a score, from 0; -1 elsewhere.
    """

    arm: str
    replicate: int = -1
    level: int = -1
    through: bool = False
    model: int = -1


@dataclass(frozen=True)
class Cost:
    """What a stage takes: SGD steps, examples shown in training, and floating-point operations of the training."""

    steps: int = 0
    examples: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.steps + other.steps, self.examples + other.examples, self.flops + other.flops)


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage of a study.

    Attributes:
        kind: One of ``VERSIONS``.
        spec: JSON-able fields that can change a number.
        inputs: Role -> address of the stages it consumes.
        dataset: Where the images are to be had; not part of the identity, their fingerprint in ``spec`` is.
        uses: Who uses it; the first is the one to show.
        cost: What it takes.
        path: Where a file of the user's lies; its checksum is in ``spec``.
    """

    kind: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str]
    dataset: DatasetSpec
    uses: tuple[Use, ...]
    cost: Cost = field(default=Cost())
    path: str | None = None

    @cached_property
    def address(self) -> str:
        """Identity of the result: 24 hexadecimal digits."""
        return address_of(self.kind, VERSIONS[self.kind], self.spec, self.inputs)

    @property
    def label(self) -> str:
        """The stage in words, for progress and messages."""
        use = self.uses[0]
        parts = [self.kind.replace("_", " "), use.arm]
        parts += [f"replicate {use.replicate}"] if use.replicate >= 0 else []
        parts += [f"level {use.level}"] if use.level >= 0 else []
        parts += [f"model {use.model}"] if use.model >= 0 else []
        return " · ".join(parts)
