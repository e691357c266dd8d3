"""What a study file says about a subset of the training examples."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import Field, model_validator

from ticketdiet.studies.part import A_BILLION, MOST_STRATA, Part

# Kinds of this package that do not read a key of a subset; those of other packages may read any. Size and score may
# stay where a kind does not read them, so that --set can change the kind of an arm's subset alone.
_UNLISTED = frozenset(("all", "random", "easiest", "hardest", "window", "stratified", "mixture"))
_KINDS_WITHOUT = {"offset": (_UNLISTED | {"indices"}) - {"window"}, "indices": _UNLISTED}


class SubsetSpec(Part):
    """Which training examples pre-training sees."""

    kind: str = Field(default="all", description="How the examples are chosen: all, random, easiest, hardest, ...")
    size: int | None = Field(default=None, ge=1, le=A_BILLION, description="Number of examples.")
    fraction: float | None = Field(
        default=None, gt=0, le=1, description="Fraction of the examples that can be chosen from, instead of size."
    )
    score: str | None = Field(default=None, description="Name of the score, under scores, that orders the examples.")
    balanced: bool = Field(
        default=False, description="Whether classes have equal counts, by the labels that pre-training sees."
    )
    offset: int = Field(
        default=0, ge=0, le=A_BILLION, description="window: rank of the first example, counted from the easiest."
    )
    strata: int = Field(default=50, ge=1, le=MOST_STRATA, description="stratified: number of score quantiles.")
    mix: float = Field(
        default=0.5, ge=0, le=1, description="mixture: fraction that is taken from the easiest. The rest is random."
    )
    indices: tuple[Annotated[int, Field(ge=0, le=A_BILLION)], ...] | None = Field(
        default=None, description="indices: positions of the examples in the training set, from 0."
    )
    like: str | None = Field(
        default=None,
        description="random: name of another arm. The draw has the size and the class counts of that arm's subset, by "
        "the labels that pre-training sees.",
    )
    classes: tuple[int, ...] | None = Field(
        default=None,
        description="Only examples of these classes are chosen from, by the labels as they came. balanced then counts "
        "by those labels too.",
    )
    per_replicate: bool = Field(default=True, description="Whether each replicate makes its own random choices.")

    @model_validator(mode="after")
    def _size_or_fraction(self) -> SubsetSpec:
        if self.size is not None and self.fraction is not None:
            raise ValueError("size and fraction are both given; give one")
        counted = self.kind in ("all", "indices") or self.like is not None
        if not counted and self.size is None and self.fraction is None:
            raise ValueError(f"a subset of kind {self.kind!r} lacks size or fraction; give one")
        if self.like is not None and (self.size is not None or self.fraction is not None):
            key = "size" if self.size is not None else "fraction"
            raise ValueError(f"{key} has no effect on a subset like {self.like!r}, which has its own; leave {key} out")
        if self.like is not None and self.kind != "random":
            raise ValueError(
                f"like has no effect on a subset of kind {self.kind!r}; leave like out, or give kind: random"
            )
        return self

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> SubsetSpec:
        if self.kind == "indices" and not self.indices:
            raise ValueError("a subset of kind 'indices' lacks indices; give them")
        repeated = [index for index, times in Counter(self.indices or ()).items() if times > 1]
        if repeated:
            raise ValueError(f"indices names example {repeated[0]} more than once; name every example once")
        given = {"offset": self.offset, "indices": self.indices}
        for key, value in given.items():
            if value and self.kind in _KINDS_WITHOUT[key]:
                raise ValueError(
                    f"{key} has no effect on a subset of kind {self.kind!r}; leave {key} out, or choose another kind"
                )
        return self

    @property
    def is_everything(self) -> bool:
        """Whether this is the whole training set."""
        return self.kind == "all" and self.classes is None

    @property
    def counts_seen_labels(self) -> bool:
        """Whether it depends on how many of each class pre-training sees; whoever names classes knows the labels."""
        return self.like is not None or (self.balanced and self.classes is None)

    def resolved_size(self, num_examples: int) -> int:
        """Number of examples asked for, out of ``num_examples``."""
        if self.indices is not None:
            return len(self.indices)
        if self.size is not None:
            return self.size
        return num_examples if self.fraction is None else max(1, round(self.fraction * num_examples))
