"""What a study file may say as a whole: its parts, and that they fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from ticketdiet.studies.measure_spec import MeasureSpec
from ticketdiet.studies.part import A_BILLION, LARGEST_SEED, MOST_CHILDREN, MOST_NAMED, MOST_REPLICATES, Part
from ticketdiet.studies.schema import (
    ArmSpec,
    DatasetSpec,
    ModelSpec,
    NoiseSpec,
    PretrainSpec,
    PruningSpec,
    ScoreSpec,
    SearchSpec,
    TicketSpec,
)
from ticketdiet.studies.subset_spec import SubsetSpec
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


@dataclass(frozen=True)
class Arm:
    """An arm of a study, with everything that it overrides applied.

    Attributes:
        name: Its name.
        model: Which network.
        training: How it is trained.
        pretraining: How it is pre-trained.
        search_training: How the trainings of the mask search go.
        pretrain: The dense phase before the rewinding point.
        pruning: How masks are found.
        label_noise: Wrong labels, and which phase sees them.
        ticket: What is sparse-trained.
        search: What the mask search trains on when that is less than training, or None.
    """

    name: str
    model: ModelSpec
    training: Recipe
    pretraining: Recipe
    search_training: Recipe
    pretrain: PretrainSpec
    pruning: PruningSpec
    label_noise: NoiseSpec
    ticket: TicketSpec
    search: SearchSpec | None

    @property
    def most_pretraining_steps(self) -> int:
        """Largest k: no training of the arm is shorter."""
        return min(self.training.steps, self.pretraining.steps, self.search_training.steps)


class StudySpec(Part):
    """A whole study."""

    study: Name = Field(description="Name of the study in tables, figures and the store.")
    description: str = Field(default="", description="One line that says what the study is about.")
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
    seed: int = Field(
        default=0, ge=0, le=LARGEST_SEED, description="The seed from which all random choices are derived."
    )
    evaluate_every: int = Field(
        default=0,
        ge=0,
        le=A_BILLION,
        description="Number of steps between evaluations on the test images; 0: only at the end.",
    )
    scores: dict[Name, ScoreSpec] = Field(default_factory=dict, max_length=MOST_NAMED)
    arms: dict[Name, ArmSpec] = Field(min_length=1, max_length=MOST_NAMED)
    label_noise: NoiseSpec = NoiseSpec()
    children: int = Field(
        default=0,
        ge=0,
        le=MOST_CHILDREN,
        description="Number of further dense trainings from each rewinding point, beside the parent's own.",
    )
    vary: tuple[Vary, ...] = Field(
        default=("augmentation", "order"), min_length=1, description="What differs between children."
    )
    measure: MeasureSpec = MeasureSpec()

    @field_validator("children")
    @classmethod
    def _a_family_has_two(cls, children: int) -> int:
        if children == 1:
            raise ValueError(
                "children is 1, but the mean barrier is over parent-child and child-child pairs; give 0, or 2 or more"
            )
        return children

    @field_validator("vary")
    @classmethod
    def _sorted_vary(cls, vary: tuple[Vary, ...]) -> tuple[Vary, ...]:
        return tuple(sorted(set(vary)))

    @model_validator(mode="after")
    def _arms_fit(self) -> StudySpec:
        for name in self.arms:
            _check_arm(self, self.arm(name))
        _check_likeness(self.arms)
        for name, score in self.scores.items():
            _overridden(self.training, score.training, f"scores.{name}.training")
        return self

    def arm(self, name: str) -> Arm:
        """Return an arm with everything that it overrides applied.

        Raises:
            KeyError: When the study has no arm of that name.
        """
        arm, path = self.arms[name], f"arms.{name}"
        training = _overridden(self.training, arm.training, f"{path}.training")
        search = arm.search
        changes: dict[str, Any] = {}
        if search is not None:
            changes = search.training | ({} if search.steps is None else {"steps": search.steps})
        return Arm(
            name=name,
            model=_overridden(self.model, arm.model, f"{path}.model"),
            training=training,
            pretraining=_overridden(training, arm.pretrain.training, f"{path}.pretrain.training"),
            search_training=_overridden(training, changes, f"{path}.search.training"),
            pretrain=arm.pretrain,
            pruning=_overridden(self.pruning, arm.pruning, f"{path}.pruning"),
            label_noise=self.label_noise if arm.label_noise is None else arm.label_noise,
            ticket=arm.ticket,
            search=search,
        )

    def score_training(self, score: str) -> Recipe:
        """The recipe of a score's models, overrides applied."""
        return _overridden(self.training, self.scores[score].training, f"scores.{score}.training")


def _check_arm(study: StudySpec, arm: Arm) -> None:
    name, recipe, ticket, steps = arm.name, arm.search_training, arm.ticket, arm.pretrain.steps
    given = ticket.restart_options.get("lr")
    if ticket.restart == "fine_tune" and given is None and not has_last_rate(recipe):
        raise ValueError(
            f"arms.{name}.ticket.restart is fine_tune, which goes on at the rate of the last step, but after a "
            f"{recipe.schedule} schedule that is about 0; give arms.{name}.ticket.restart_options.lr, "
            f"for example {recipe.lr / 100:g}"
        )
    if steps > arm.training.steps:
        raise ValueError(
            f"arms.{name}.pretrain.steps is {steps}, but training.steps is {arm.training.steps}; k must be at most T"
        )
    if steps > recipe.steps:
        raise ValueError(
            f"arms.{name}.pretrain.steps is {steps}, but the search has {recipe.steps} steps; k must be at most those"
        )
    for key, subset in _subsets_of(arm):
        _check_subset(study, f"arms.{name}.{key}.subset", subset)


def _subsets_of(arm: Arm) -> list[tuple[str, SubsetSpec]]:
    searched = [("search", arm.search.subset)] if arm.search is not None else []
    return [("pretrain", arm.pretrain.subset), *searched]


def _check_subset(study: StudySpec, path: str, subset: SubsetSpec) -> None:
    """Refuse names of arms and scores that the study does not have."""
    if subset.like is not None and subset.like not in study.arms:
        raise ValueError(f"{path}.like is {subset.like!r}; expected one of the arms: {', '.join(study.arms)}")
    if subset.score is not None and subset.score not in study.scores:
        known = ", ".join(study.scores) or "none"
        raise ValueError(f"{path}.score is {subset.score!r}; expected one of the scores: {known}")


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
        raise ValueError(f"{path}.{unknown[0]}: unknown key; known keys: {known}")
    try:
        return type(whole).model_validate(whole.model_dump() | dict(changes))
    except ValidationError as error:
        raise OverrideError(path, error) from None
