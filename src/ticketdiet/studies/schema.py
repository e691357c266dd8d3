"""The parts of a study file: frozen, unknown keys refused, defaults written out. Subsets have a file of their own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ticketdiet.core.options import checked
from ticketdiet.scores.modes import ScoreBatchNorm
from ticketdiet.studies import registries
from ticketdiet.studies.part import (
    A_BILLION,
    LARGEST_SEED,
    MOST_LEVELS,
    MOST_MODELS,
    MOST_PIXELS,
    MOST_WIDTH,
    Part,
)
from ticketdiet.studies.subset_spec import SubsetSpec


class DatasetSpec(Part):
    """Which images."""

    name: str = Field(description="The source: digits, cifar10, ..., or parquet:PATH, folder:PATH, npz:PATH, hf:PATH.")
    resolution: int | None = Field(
        default=None, ge=1, le=MOST_PIXELS, description="Height and width to which images are average-pooled."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=A_BILLION,
        description="Number of training images to keep: a seeded random choice, with classes in proportion.",
    )
    validation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of the training images that is set aside for validation, before limit applies.",
    )
    seed: int = Field(
        default=0, ge=0, le=LARGEST_SEED, description="The seed for limit and validation. All replicates share it."
    )
    root: str | None = Field(default=None, description="Folder of the data, for sources that download.")


class ModelSpec(Part):
    """Which network; input channels, size and classes follow the data."""

    name: str = Field(
        default="resnet20",
        description="resnet20, vgg16, ..., torchvision:NAME, timm:NAME, or package.module:function for your own.",
    )
    width: int | None = Field(
        default=None,
        ge=1,
        le=MOST_WIDTH,
        description="Number of channels of the first stage. The default is the model's own.",
    )
    initialisation: Literal["kaiming", "paper", "module"] | None = Field(
        default=None,
        description="How initial weights are drawn. paper: with BatchNorm scales from U(0, 1), as in the published "
        "runs; module: by the module's constructor. The default is kaiming, and module for your own "
        "network and those of torchvision and timm.",
    )


class PruningSpec(Part):
    """How masks are found."""

    fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Fraction of the kept weights that one pruning removes."
    )
    levels: int = Field(default=20, ge=0, le=MOST_LEVELS, description="Number of prunings. Level 0 is dense.")
    rule: Literal["exact", "threshold"] = Field(
        default="exact",
        description="exact: removes the fraction, rounded up to whole weights; threshold: the published rule, which "
        "removes one weight more, and every tie.",
    )
    criterion: str = Field(
        default="magnitude",
        description="Which kept weights are removed: by magnitude, layerwise_magnitude, n_of_m, movement, gradient, "
        "random, or a registered name.",
    )
    criterion_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the criterion. gradient: images (1024); n_of_m: n (2) and m (4)."
    )
    ignore: tuple[str, ...] = Field(default=(), description="Names of prunable tensors that stay dense.")

    @model_validator(mode="after")
    def _criterion_is_known(self) -> PruningSpec:
        if self.criterion != "magnitude" or self.criterion_options:
            checked(registries.pruning_criteria(), self.criterion, self.criterion_options)
        return self


class PretrainSpec(Part):
    """The dense phase before the rewinding point."""

    steps: int = Field(
        default=0, ge=0, le=A_BILLION, description="Number of pre-training steps (k). They count toward training.steps."
    )
    passes: int | None = Field(
        default=None, ge=1, le=A_BILLION, description="Number of passes over the subset, instead of steps."
    )
    subset: SubsetSpec = SubsetSpec()
    objective: str = Field(
        default="labels",
        description="What pre-training predicts. labels: the classes; rotation: by how many quarter turns an image "
        "was rotated, without labels; random_labels: a control; or a registered name.",
    )
    objective_options: dict[str, Any] = Field(default_factory=dict, description="Options of the objective.")
    dataset: DatasetSpec | None = Field(
        default=None, description="Other images of the same shape and classes to pre-train on."
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of training for pre-training: lr, schedule, batch_size, flip, ..."
    )
    evaluate_every: int = Field(
        default=0,
        ge=0,
        le=A_BILLION,
        description="Number of steps between evaluations on train, test, the subset and the rest; 0: only at the end.",
    )

    @model_validator(mode="after")
    def _objective_is_known(self) -> PretrainSpec:
        if self.objective != "labels" or self.objective_options:
            checked(registries.objectives(), self.objective, self.objective_options)
        return self

    @model_validator(mode="after")
    def _steps_or_passes(self) -> PretrainSpec:
        if self.steps and self.passes:
            raise ValueError("steps and passes are both given; give one")
        return self


class NoiseSpec(Part):
    """Wrong labels, on purpose. The labels as they came are what everything is evaluated on."""

    kind: str = Field(
        default="symmetric",
        description="symmetric: wrong labels are drawn from the other classes; symmetric_all: from all classes, as "
        "published; pair_flip: the next class; file: labels that you give; or a registered name.",
    )
    fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of the training examples whose labels are replaced. symmetric_all may draw the old "
        "label again.",
    )
    path: str | None = Field(default=None, description="file: a .npy file with one label per training example.")
    options: dict[str, Any] = Field(default_factory=dict, description="Further options of the kind.")
    where: Literal["pretraining", "training", "both"] = Field(
        default="pretraining", description="Which phase sees the wrong labels. Scores see what pre-training sees."
    )
    per_replicate: bool = Field(default=False, description="Whether each replicate draws its own wrong labels.")

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> NoiseSpec:
        if self.is_none and self.path is None and not self.options:
            return self
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("kind file and path belong together; give both or neither")
        found = checked(registries.noises(), self.kind, self.kind_options)
        if self.fraction and "fraction" not in found.Options.model_fields:
            raise ValueError(f"fraction has no effect on labels of kind {self.kind!r}; leave fraction out")
        if self.per_replicate and not found.is_drawn:
            raise ValueError(
                f"per_replicate has no effect on labels of kind {self.kind!r}, which are as given; leave it out"
            )
        return self

    @property
    def kind_options(self) -> dict[str, Any]:
        """Options of the kind: those given, the fraction where it takes one, and the path of a file."""
        takes = registries.noises().get(self.kind).Options.model_fields if self.kind in registries.noises() else {}
        own: dict[str, Any] = {"fraction": self.fraction} if "fraction" in takes else {}
        return own | self.options | ({} if self.path is None else {"path": self.path})

    @property
    def is_none(self) -> bool:
        """Whether no label is changed."""
        return self.kind in ("symmetric", "symmetric_all", "pair_flip") and self.fraction == 0


_MASKS_OF_A_SEARCH = ("imp", "shuffled")


class TicketSpec(Part):
    """What is sparse-trained: the ticket that IMP finds, or a control of it at equal density."""

    mask: str = Field(
        default="imp",
        description="imp: the mask of the search; shuffled: that mask, permuted within each layer; magnitude: one "
        "pruning of the dense network; random, erk, snip, synflow, or a registered name: a mask made at "
        "the rewinding point, without training.",
    )
    mask_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the mask criterion. snip: images (128, or all); synflow: rounds (100).",
    )
    weights: str = Field(
        default="rewound",
        description="rewound: weights of the rewinding point; reinitialised: new initial weights; sign_only: signs of "
        "the rewound weights, with the standard deviation of the initial ones as magnitude; or a "
        "registered name.",
    )
    weights_options: dict[str, Any] = Field(default_factory=dict, description="Options of these weights.")
    restart: str = Field(
        default="weights",
        description="What goes back to step k before a level. weights: weights and learning rate; learning_rate: the "
        "learning rate alone; fine_tune: nothing; or a registered name.",
    )
    restart_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the restart. fine_tune: lr, by default the rate of the last step. It has to be given "
        "after a cosine schedule.",
    )

    @model_validator(mode="after")
    def _parts_are_known(self) -> TicketSpec:
        if self.needs_search and self.mask_options:
            raise ValueError(f"mask_options has no effect on mask {self.mask!r}; leave it out, or choose another mask")
        if not self.needs_search:
            if self.mask not in (known := registries.mask_criteria()):
                masks = ", ".join((*_MASKS_OF_A_SEARCH, *known.names()))
                raise ValueError(f"mask is {self.mask!r}; expected one of: {masks}")
            checked(known, self.mask, self.mask_options)
        if self.weights != "rewound" or self.weights_options:
            checked(registries.initial_weights(), self.weights, self.weights_options)
        if self.restart != "weights" or self.restart_options:
            checked(registries.restarts(), self.restart, self.restart_options)
        return self

    @property
    def needs_search(self) -> bool:
        """Whether the mask comes from IMP's levels."""
        return self.mask in _MASKS_OF_A_SEARCH

    @property
    def is_control(self) -> bool:
        """Whether sparse training differs from the mask search."""
        return self.mask != "imp" or self.weights != "rewound"


class SearchSpec(Part):
    """What the mask search trains on, when that is less than what a ticket is trained on."""

    subset: SubsetSpec = Field(default=SubsetSpec(), description="Which training examples the search sees.")
    dataset: DatasetSpec | None = Field(
        default=None, description="Other images of the same shape and classes to search on."
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=A_BILLION,
        description="Number of steps of each training of the search. The schedule is shortened with it. The default "
        "is training.steps.",
    )
    labels: Literal["as_training", "as_pretraining", "clean"] = Field(
        default="as_training", description="With label noise: which labels the search sees."
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of training for the search: lr, batch_size, ..."
    )

    @property
    def phase(self) -> str | None:
        """Phase whose labels the search sees; None for the labels as they came."""
        return None if self.labels == "clean" else self.labels.removeprefix("as_")


class ScoreSpec(Part):
    """A score of every training example, the mean over independently trained models."""

    kind: str = Field(default="el2n", description="Name of the score: el2n, ...")
    models: int = Field(
        default=16, ge=1, le=MOST_MODELS, description="Number of networks that are trained independently."
    )
    steps: int = Field(
        default=7800,
        ge=0,
        le=A_BILLION,
        description="Number of steps of each of these trainings, with a schedule of that length.",
    )
    model: ModelSpec | None = Field(default=None, description="Another network. The default is the study's.")
    training: dict[str, Any] = Field(default_factory=dict, description="Overrides of training.")
    arm: str | None = Field(default=None, description="barrier: the arm whose dense family is measured.")
    path: str | None = Field(
        default=None, description="file: a .npy, .csv or .parquet file with one number per example."
    )
    column: str | None = Field(default=None, description="file: the column to read, if the file has several.")
    permuted: bool = Field(
        default=False, description="Whether the scores are permuted at random across the examples, as a control."
    )
    labels: Literal["as_pretraining", "clean"] = Field(
        default="as_pretraining",
        description="With label noise: whether scores use the labels that pre-training sees, or the clean ones.",
    )
    batch_norm: ScoreBatchNorm | None = Field(
        default=None,
        description="BatchNorm's running statistics, for a score that is computed from a forward pass. recalibrate, "
        "the default: measured again on the training images; eval: as the short training left them; "
        "lth_diet: train mode on class-sorted batches, as in the public notebook.",
    )
    per_replicate: bool = Field(
        default=False, description="Whether each replicate trains its own networks, and chooses its subsets by them."
    )

    @model_validator(mode="after")
    def _file_has_path(self) -> ScoreSpec:
        if self.kind == "file" and self.path is None:
            raise ValueError("a score of kind 'file' needs path, a .npy, .csv or .parquet")
        if self.kind == "file" and self.per_replicate and not self.permuted:
            raise ValueError("per_replicate has no effect on a score of kind 'file' that is not permuted; leave it out")
        return self


class ArmSpec(Part):
    """One way to reach the rewinding point, and anything it overrides."""

    pretrain: PretrainSpec = PretrainSpec()
    training: dict[str, Any] = Field(default_factory=dict, description="Overrides of training.")
    pruning: dict[str, Any] = Field(default_factory=dict, description="Overrides of pruning.")
    model: dict[str, Any] = Field(default_factory=dict, description="Overrides of model.")
    label_noise: NoiseSpec | None = Field(default=None, description="Label noise of this arm, instead of the study's.")
    ticket: TicketSpec = TicketSpec()
    search: SearchSpec | None = Field(
        default=None,
        description="A cheaper mask search: on a subset, on other images, or for fewer steps. Each density then gets "
        "its own sparse training on all images.",
    )

    @model_validator(mode="after")
    def _search_has_an_effect(self) -> ArmSpec:
        if self.search is not None and not self.ticket.needs_search:
            raise ValueError(
                f"search has no effect on mask {self.ticket.mask!r}, which no search finds; leave search out, or give "
                "ticket.mask: imp"
            )
        return self
