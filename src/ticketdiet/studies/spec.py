"""What a study file may say as a whole: its parts, and that they fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from ticketdiet.studies.parts import (
    A_BILLION,
    LARGEST_SEED,
    MOST_CHILDREN,
    MOST_NAMED,
    MOST_REPLICATES,
    ArmSpec,
    DatasetSpec,
    MeasureSpec,
    ModelSpec,
    NoiseSpec,
    Part,
    PruningSpec,
    ScoreSpec,
)
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.schedule import has_last_rate

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+@-]*$", max_length=60)]
Vary = Literal["order", "augmentation"]
P = TypeVar("P", bound=BaseModel)


class OverrideError(ValueError):
    """An arm or a score changes a part of the study to something illegal.

    Attributes:
        path: Path of keys of what changes it.
        error: What is illegal in the part as changed.
    """

    def __init__(self, path: str, error: ValidationError) -> None:
        super().__init__("; ".join(f"{path}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
        self.path, self.error = path, error


class StudySpec(Part):
    """A whole study."""

    study: Name = Field(description="Name of the study, as it stands in tables.")
    description: str = Field(default="", description="One line for people.")
    dataset: DatasetSpec
    model: ModelSpec = ModelSpec()
    training: Recipe = Recipe()
    pruning: PruningSpec = PruningSpec()
    replicates: int = Field(
        default=1,
        ge=1,
        le=MOST_REPLICATES,
        description="Repetitions with other initialisation, data order, augmentation and subset draws. They share "
        "limit and validation of the data and, without per_replicate, scores and label noise.",
    )
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Decides everything random.")
    evaluate_every: int = Field(
        default=0, ge=0, le=A_BILLION, description="Steps between evaluations on test; 0: only at the end."
    )
    scores: dict[Name, ScoreSpec] = Field(default_factory=dict, max_length=MOST_NAMED)
    arms: dict[Name, ArmSpec] = Field(min_length=1, max_length=MOST_NAMED)
    label_noise: NoiseSpec = NoiseSpec()
    children: int = Field(
        default=0,
        ge=0,
        le=MOST_CHILDREN,
        description="Trainings from each rewinding point beside the parent's own.",
    )
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
        _check_likeness(self.arms)
        for name, score in self.scores.items():
            _overridden(self.training, score.training, f"scores.{name}.training")
        return self

    def arm_training(self, arm: str) -> Recipe:
        """The recipe of an arm, overrides applied."""
        return _overridden(self.training, self.arms[arm].training, f"arms.{arm}.training")

    def pretraining(self, arm: str) -> Recipe:
        """The recipe of an arm's pre-training."""
        whole = self.arm_training(arm)
        return _overridden(whole, self.arms[arm].pretrain.training, f"arms.{arm}.pretrain.training")

    def arm_noise(self, arm: str) -> NoiseSpec:
        """The label noise of an arm."""
        own = self.arms[arm].label_noise
        return self.label_noise if own is None else own

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
    study.pretraining(name)
    study.arm_pruning(name)
    study.arm_model(name)
    pretrain, ticket = arm.pretrain, arm.ticket
    if ticket.restart == "fine_tune" and ticket.fine_tune_lr is None and not has_last_rate(recipe):
        raise ValueError(
            f"arms.{name}.ticket.restart is fine_tune, which goes on at the rate of the last step, but after a "
            f"{recipe.schedule} schedule that is about 0; give arms.{name}.ticket.fine_tune_lr, "
            f"for example {recipe.lr / 100:g}"
        )
    if pretrain.steps > recipe.steps:
        raise ValueError(
            f"arms.{name}.pretrain.steps is {pretrain.steps}, but training.steps is {recipe.steps}; k must be at most T"
        )
    if pretrain.subset.like is not None and pretrain.subset.like not in study.arms:
        raise ValueError(f"arms.{name}.pretrain.subset.like is {pretrain.subset.like!r}; arms: {', '.join(study.arms)}")
    score = pretrain.subset.score
    if score is not None and score not in study.scores:
        known = ", ".join(study.scores) or "none"
        raise ValueError(f"arms.{name}.pretrain.subset.score is {score!r}, which scores: does not have ({known})")


def _check_likeness(arms: Mapping[str, ArmSpec]) -> None:
    """Refuse arms whose subsets take their class counts from each other in a circle."""
    for name in arms:
        chain, other = {name: None}, arms[name].pretrain.subset.like
        while other is not None and other not in chain:
            chain[other] = None
            other = arms[other].pretrain.subset.like
        if other == name:
            circle = " -> ".join((*chain, name))
            raise ValueError(
                f"arms.{name}.pretrain.subset.like leads back to itself ({circle}); "
                "name an arm whose subset does not depend on it"
            )


def _overridden(whole: P, changes: Mapping[str, Any], path: str) -> P:
    if not changes:
        return whole
    unknown = sorted(set(changes) - set(type(whole).model_fields))
    if unknown:
        known = ", ".join(type(whole).model_fields)
        raise ValueError(f"{path}.{unknown[0]} is no key; known keys: {known}")
    try:
        return type(whole).model_validate(whole.model_dump() | dict(changes))
    except ValidationError as error:
        raise OverrideError(path, error) from None
