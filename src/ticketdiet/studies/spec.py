"""What a study file may say: one schema, frozen, unknown keys refused, defaults written out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from ticketdiet.training.recipe import Precision, Recipe

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+@-]*$", max_length=60)]
Vary = Literal["order", "augmentation"]
P = TypeVar("P", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(_Part):
    """Which images."""

    name: str = Field(description="digits, cifar10, ..., or parquet:PATH, folder:PATH, npz:PATH.")
    resolution: int | None = Field(default=None, ge=1, description="Average-pool images to this height and width.")
    limit: int | None = Field(default=None, ge=1, description="Keep a seeded random choice of this many for training.")
    validation: float = Field(default=0.0, ge=0, lt=1, description="Share of train set aside before anything else.")
    seed: int = Field(default=0, ge=0, description="Decides limit and validation, for all replicates alike.")
    root: str | None = Field(default=None, description="Where the data lie, for sources that download.")


class ModelSpec(_Part):
    """Which network; input channels, size and classes follow the data."""

    name: str = Field(default="resnet20", description="resnet20, vgg16, ..., or your own as package.module:function.")
    width: int | None = Field(default=None, ge=1, description="Channels of the first stage; default the model's own.")
    initialisation: Literal["kaiming", "paper", "module"] | None = Field(
        default=None,
        description="paper: BatchNorm scales drawn from U(0, 1), as in the published runs. Default: kaiming, and for "
        "your own module what its constructor draws.",
    )


class PruningSpec(_Part):
    """How masks are found."""

    fraction: float = Field(default=0.2, gt=0, lt=1, description="Share of the kept weights removed a level.")
    levels: int = Field(default=20, ge=0, description="Prunings; level 0 is dense.")
    rule: Literal["exact", "threshold"] = Field(default="exact", description="threshold: the published rule.")
    ignore: tuple[str, ...] = Field(default=(), description="Names of prunable tensors to leave dense.")


class SubsetSpec(_Part):
    """Which training examples pre-training sees."""

    kind: str = Field(default="all", description="all, random, easiest, hardest, ...")
    size: int | None = Field(default=None, ge=1, description="Number of examples.")
    share: float | None = Field(default=None, gt=0, le=1, description="Share, instead of size.")
    score: str | None = Field(default=None, description="Name under scores: that orders the examples.")
    balanced: bool = Field(default=False, description="Equal counts a class.")
    offset: int = Field(default=0, ge=0, description="window: rank of the first example, from the easiest.")
    mix: float | None = Field(default=None, ge=0, le=1, description="mixture: share of easiest; the rest is random.")
    classes: tuple[int, ...] | None = Field(default=None, description="Only examples of these classes.")
    per_replicate: bool = Field(default=True, description="Draw random choices anew for each replicate.")

    @model_validator(mode="after")
    def _size_or_share(self) -> SubsetSpec:
        if self.size is not None and self.share is not None:
            raise ValueError("size and share are both given; give one")
        if self.kind != "all" and self.size is None and self.share is None:
            raise ValueError(f"a subset of kind {self.kind!r} needs size or share")
        return self

    @property
    def is_everything(self) -> bool:
        """Whether this is the whole training set."""
        return self.kind == "all" and self.classes is None

    def resolved_size(self, num_examples: int) -> int:
        """Number of examples asked for, out of ``num_examples``."""
        if self.size is not None:
            return self.size
        return num_examples if self.share is None else max(1, round(self.share * num_examples))


class PretrainSpec(_Part):
    """The dense phase before the rewinding point."""

    steps: int = Field(default=0, ge=0, description="k; they count toward training.steps.")
    subset: SubsetSpec = SubsetSpec()


class ScoreSpec(_Part):
    """A score of every training example, the mean over independently trained models."""

    kind: str = Field(default="el2n", description="el2n, ...")
    models: int = Field(default=16, ge=1, description="Independent short trainings.")
    steps: int = Field(default=7800, ge=0, description="Steps of each, of its own schedule.")
    model: ModelSpec | None = Field(default=None, description="Another network; default the study's.")
    training: dict[str, Any] = Field(default_factory=dict, description="Overrides of training.")
    arm: str | None = Field(default=None, description="barrier: the arm whose dense family is measured.")
    path: str | None = Field(default=None, description="file: a .npy, .csv or .parquet with one number an example.")
    column: str | None = Field(default=None, description="file: its column, if it has several.")
    permuted: bool = Field(default=False, description="Deal the scores out at random: a control.")
    batch_norm: Literal["eval", "lth_diet"] = Field(
        default="eval", description="lth_diet: train-mode BatchNorm on class-sorted batches, as in the public notebook."
    )


class ArmSpec(_Part):
    """One way to reach the rewinding point, and anything it overrides."""

    pretrain: PretrainSpec = PretrainSpec()
    training: dict[str, Any] = Field(default_factory=dict, description="Overrides of training.")
    pruning: dict[str, Any] = Field(default_factory=dict, description="Overrides of pruning.")
    model: dict[str, Any] = Field(default_factory=dict, description="Overrides of model.")


class MeasureSpec(_Part):
    """What is measured between the networks of a family (a parent and its children)."""

    levels: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0,), description="Levels that get children, each under its level's mask; 0 is dense."
    )
    successive_levels: bool = Field(default=False, description="Also the barrier between each level and the next.")
    alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(default=(0.5,), description="Points on the line.")
    tolerance: float = Field(default=0.1, ge=0, description="Barrier in nats up to which an example is connected.")
    batch_norm: Literal["interpolate", "recalibrate", "batch"] = Field(
        default="interpolate", description="What becomes of BatchNorm's buffers between the ends."
    )
    precision: Precision | None = Field(default=None, description="Of the forward passes; default that of training.")


class StudySpec(_Part):
    """A whole study."""

    study: Name = Field(description="Name of the study, as it stands in tables.")
    description: str = Field(default="", description="One line for people.")
    dataset: DatasetSpec
    model: ModelSpec = ModelSpec()
    training: Recipe = Recipe()
    pruning: PruningSpec = PruningSpec()
    replicates: int = Field(default=1, ge=1, description="Independent repetitions of everything.")
    seed: int = Field(default=0, ge=0, description="Decides everything random.")
    evaluate_every: int = Field(default=0, ge=0, description="Steps between evaluations on test; 0: only at the end.")
    scores: dict[Name, ScoreSpec] = Field(default_factory=dict)
    arms: dict[Name, ArmSpec] = Field(min_length=1)
    children: int = Field(default=0, ge=0, description="Trainings from each rewinding point beside the parent's own.")
    vary: tuple[Vary, ...] = Field(default=("augmentation", "order"), min_length=1, description="How children differ.")
    measure: MeasureSpec = MeasureSpec()

    @field_validator("children")
    @classmethod
    def _a_family_has_two(cls, children: int) -> int:
        if children == 1:
            raise ValueError(
                "1 child makes no family: the mean barrier is over parent-child and child-child pairs; "
                "give 0, or 2 or more"
            )
        return children

    @field_validator("vary")
    @classmethod
    def _sorted_vary(cls, vary: tuple[Vary, ...]) -> tuple[Vary, ...]:
        return tuple(sorted(set(vary)))

    @model_validator(mode="after")
    def _arms_fit(self) -> StudySpec:
        for name, arm in self.arms.items():
            _check_arm(self, name, arm)
        for name, score in self.scores.items():
            _overridden(self.training, score.training, f"scores.{name}.training")
        return self

    def arm_training(self, arm: str) -> Recipe:
        """The recipe of an arm, overrides applied."""
        return _overridden(self.training, self.arms[arm].training, f"arms.{arm}.training")

    def arm_pruning(self, arm: str) -> PruningSpec:
        """The pruning of an arm, overrides applied."""
        return _overridden(self.pruning, self.arms[arm].pruning, f"arms.{arm}.pruning")

    def arm_model(self, arm: str) -> ModelSpec:
        """The model of an arm, overrides applied."""
        return _overridden(self.model, self.arms[arm].model, f"arms.{arm}.model")

    def score_training(self, score: str) -> Recipe:
        """The recipe of a score's models, overrides applied."""
        return _overridden(self.training, self.scores[score].training, f"scores.{score}.training")


def _check_arm(study: StudySpec, name: str, arm: ArmSpec) -> None:
    recipe = study.arm_training(name)
    study.arm_pruning(name)
    study.arm_model(name)
    pretrain = arm.pretrain
    if pretrain.steps > recipe.steps:
        raise ValueError(
            f"arms.{name}.pretrain.steps is {pretrain.steps}, but training.steps is {recipe.steps}; k must be at most T"
        )
    score = pretrain.subset.score
    if score is not None and score not in study.scores:
        known = ", ".join(study.scores) or "none"
        raise ValueError(f"arms.{name}.pretrain.subset.score is {score!r}, which scores: does not have ({known})")


def _overridden(whole: P, changes: Mapping[str, Any], path: str) -> P:
    if not changes:
        return whole
    unknown = sorted(set(changes) - set(type(whole).model_fields))
    if unknown:
        known = ", ".join(type(whole).model_fields)
        raise ValueError(f"{path}.{unknown[0]} is no key; known keys: {known}")
    try:
        return type(whole).model_validate(whole.model_dump() | dict(changes))
    except ValueError as error:
        lines = re.sub(r"\s*For further information.*", "", str(error)).splitlines()[1:]
        raise ValueError(f"{path}: {' '.join(line.strip() for line in lines)}") from None
