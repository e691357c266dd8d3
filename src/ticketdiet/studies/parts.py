"""The parts of a study file: frozen, unknown keys refused, defaults written out."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE
from ticketdiet.scores.modes import ScoreBatchNorm
from ticketdiet.training.recipe import Precision

# Far beyond what a study needs, so that a slip of the pen is refused. What a whole study may come to is limited in
# limits.py.
A_BILLION = 10**9
LARGEST_SEED = 2**63 - 1
MOST_PIXELS = 10_000  # of the height and the width
MOST_WIDTH = 10_000
MOST_LEVELS = 1000
MOST_STRATA = 10**6
MOST_MODELS = MOST_REPLICATES = 1000
MOST_CHILDREN = 100
MOST_ALPHAS = 1001
MOST_NAMED = 500  # arms, and scores

# Kinds of this package that do not read a key of a subset; those of other packages may read any. Size and score may
# stay where a kind does not read them, so that --set can change the kind of an arm's subset alone.
_UNLISTED = frozenset(("all", "random", "easiest", "hardest", "window", "stratified", "mixture"))
_KINDS_WITHOUT = {"offset": (_UNLISTED | {"indices"}) - {"window"}, "indices": _UNLISTED}


class Part(BaseModel):
    """Base of all parts: frozen, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(Part):
    """Which images."""

    name: str = Field(description="digits, cifar10, ..., or parquet:PATH, folder:PATH, npz:PATH.")
    resolution: int | None = Field(
        default=None, ge=1, le=MOST_PIXELS, description="Average-pool images to this height and width."
    )
    limit: int | None = Field(
        default=None, ge=1, le=A_BILLION, description="Keep a seeded random choice of this many for training."
    )
    validation: float = Field(default=0.0, ge=0, lt=1, description="Share of train set aside before anything else.")
    seed: int = Field(
        default=0, ge=0, le=LARGEST_SEED, description="Decides limit and validation, for all replicates alike."
    )
    root: str | None = Field(default=None, description="Where the data lie, for sources that download.")


class ModelSpec(Part):
    """Which network; input channels, size and classes follow the data."""

    name: str = Field(default="resnet20", description="resnet20, vgg16, ..., or your own as package.module:function.")
    width: int | None = Field(
        default=None, ge=1, le=MOST_WIDTH, description="Channels of the first stage; default the model's own."
    )
    initialisation: Literal["kaiming", "paper", "module"] | None = Field(
        default=None,
        description="paper: BatchNorm scales drawn from U(0, 1), as in the published runs. Default: kaiming, and for "
        "your own module what its constructor draws.",
    )


class PruningSpec(Part):
    """How masks are found."""

    fraction: float = Field(default=0.2, gt=0, lt=1, description="Share of the kept weights removed a level.")
    levels: int = Field(default=20, ge=0, le=MOST_LEVELS, description="Prunings; level 0 is dense.")
    rule: Literal["exact", "threshold"] = Field(default="exact", description="threshold: the published rule.")
    ignore: tuple[str, ...] = Field(default=(), description="Names of prunable tensors to leave dense.")


class SubsetSpec(Part):
    """Which training examples pre-training sees."""

    kind: str = Field(default="all", description="all, random, easiest, hardest, ...")
    size: int | None = Field(default=None, ge=1, le=A_BILLION, description="Number of examples.")
    share: float | None = Field(default=None, gt=0, le=1, description="Share, instead of size.")
    score: str | None = Field(default=None, description="Name under scores: that orders the examples.")
    balanced: bool = Field(default=False, description="Equal counts per class, by the labels that pre-training sees.")
    offset: int = Field(
        default=0, ge=0, le=A_BILLION, description="window: rank of the first example, from the easiest."
    )
    strata: int = Field(default=50, ge=1, le=MOST_STRATA, description="stratified: number of score quantiles.")
    mix: float = Field(default=0.5, ge=0, le=1, description="mixture: share of easiest; the rest is random.")
    indices: tuple[Annotated[int, Field(ge=0, le=A_BILLION)], ...] | None = Field(
        default=None, description="indices: the examples, by their place in the training set."
    )
    like: str | None = Field(
        default=None,
        description="random: as many of each class as the subset of this arm has, at its size, by the labels that "
        "pre-training sees.",
    )
    classes: tuple[int, ...] | None = Field(
        default=None, description="Only examples of these classes, by the labels as they came; balanced then too."
    )
    per_replicate: bool = Field(default=True, description="Draw random choices anew for each replicate.")

    @model_validator(mode="after")
    def _size_or_share(self) -> SubsetSpec:
        if self.size is not None and self.share is not None:
            raise ValueError("size and share are both given; give one")
        counted = self.kind in ("all", "indices") or self.like is not None
        if not counted and self.size is None and self.share is None:
            raise ValueError(f"a subset of kind {self.kind!r} needs size or share")
        if self.like is not None and (self.size is not None or self.share is not None):
            key = "size" if self.size is not None else "share"
            raise ValueError(f"{key} has no effect on a subset like {self.like!r}, which has its own; leave {key} out")
        if self.like is not None and self.kind != "random":
            raise ValueError("like: goes with kind random")
        return self

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> SubsetSpec:
        if self.kind == "indices" and not self.indices:
            raise ValueError("a subset of kind 'indices' needs indices")
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
        return num_examples if self.share is None else max(1, round(self.share * num_examples))


class PretrainSpec(Part):
    """The dense phase before the rewinding point."""

    steps: int = Field(default=0, ge=0, le=A_BILLION, description="k; they count toward training.steps.")
    passes: int | None = Field(
        default=None, ge=1, le=A_BILLION, description="Passes over the subset, instead of steps."
    )
    subset: SubsetSpec = SubsetSpec()
    objective: Literal["labels", "rotation"] = Field(
        default="labels", description="rotation: predict by how many quarter turns an image is turned; no labels."
    )
    dataset: DatasetSpec | None = Field(
        default=None, description="Other images of the same shape and classes to pre-train on."
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of training for this phase: lr, schedule, batch_size, flip, ..."
    )
    evaluate_every: int = Field(
        default=0,
        ge=0,
        le=A_BILLION,
        description="Steps between evaluations on train, test, the subset and the rest; 0: at the end.",
    )

    @model_validator(mode="after")
    def _steps_or_passes(self) -> PretrainSpec:
        if self.steps and self.passes:
            raise ValueError("steps and passes are both given; give one")
        return self


class NoiseSpec(Part):
    """Wrong labels, on purpose. The labels as they came are what everything is evaluated on."""

    kind: Literal["symmetric", "symmetric_all", "pair_flip", "file"] = Field(
        default="symmetric", description="symmetric_all: drawn from all labels, as published; file: given labels."
    )
    fraction: float = Field(default=0.0, ge=0, le=1, description="Share of the training examples.")
    path: str | None = Field(default=None, description="file: a .npy of one label an example.")
    where: Literal["pretraining", "training", "both"] = Field(
        default="pretraining", description="Which phase sees them; scores see what pre-training sees."
    )
    per_replicate: bool = Field(default=False, description="Draw the wrong labels anew for each replicate.")

    @model_validator(mode="after")
    def _file_has_path(self) -> NoiseSpec:
        if (self.kind == "file") != (self.path is not None):
            raise ValueError("kind file and path: go together")
        if self.kind == "file" and self.fraction:
            raise ValueError("fraction has no effect on labels of kind file, which are as given; leave fraction out")
        if self.kind == "file" and self.per_replicate:
            raise ValueError("per_replicate has no effect on labels of kind file, which are as given; leave it out")
        return self

    @property
    def is_none(self) -> bool:
        """Whether no label is changed."""
        return self.kind != "file" and self.fraction == 0


class TicketSpec(Part):
    """What is sparse-trained: the ticket that IMP finds, or a control of it at equal density."""

    mask: Literal["imp", "shuffled", "magnitude", "random", "erk", "snip", "synflow"] = Field(
        default="imp",
        description="shuffled: IMP's within each layer; magnitude: one-shot from the dense run; others: at the "
        "rewinding point without training.",
    )
    weights: Literal["rewound", "reinitialised", "sign_only"] = Field(
        default="rewound", description="sign_only: signs of the rewound, magnitude of the initial standard deviation."
    )
    restart: Literal["weights", "learning_rate", "fine_tune"] = Field(
        default="weights",
        description="What goes back to step k before a level: weights, the rate alone, or nothing.",
    )
    fine_tune_lr: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="fine_tune: its learning rate; default that of the last step. After a cosine schedule give one.",
    )
    snip_images: Annotated[int, Field(ge=2)] | Literal["all"] = Field(
        default=128,
        description="snip: training images it looks at, drawn for each replicate and level; all of them when there are "
        "fewer.",
    )

    @field_validator("snip_images", mode="before")
    @classmethod
    def _count_or_all(cls, value: object) -> object:
        counted = isinstance(value, int) and not isinstance(value, bool) and value >= 2
        if not counted and value != "all":
            raise ValueError("expected a whole number of images, at least 2, or all")
        return value

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> TicketSpec:
        if self.fine_tune_lr is not None and self.restart != "fine_tune":
            raise ValueError(
                f"fine_tune_lr has no effect under restart {self.restart!r}; leave it out, or give restart: fine_tune"
            )
        if self.snip_images != type(self).model_fields["snip_images"].default and self.mask != "snip":
            raise ValueError(f"snip_images has no effect on mask {self.mask!r}; leave it out, or give mask: snip")
        return self

    @property
    def needs_search(self) -> bool:
        """Whether the mask comes from IMP's levels."""
        return self.mask in ("imp", "shuffled")

    @property
    def is_control(self) -> bool:
        """Whether sparse training differs from the mask search."""
        return self.mask != "imp" or self.weights != "rewound"


class ScoreSpec(Part):
    """A score of every training example, the mean over independently trained models."""

    kind: str = Field(default="el2n", description="el2n, ...")
    models: int = Field(default=16, ge=1, le=MOST_MODELS, description="Independent short trainings.")
    steps: int = Field(default=7800, ge=0, le=A_BILLION, description="Steps of each, of its own schedule.")
    model: ModelSpec | None = Field(default=None, description="Another network; default the study's.")
    training: dict[str, Any] = Field(default_factory=dict, description="Overrides of training.")
    arm: str | None = Field(default=None, description="barrier: the arm whose dense family is measured.")
    path: str | None = Field(default=None, description="file: a .npy, .csv or .parquet with one number an example.")
    column: str | None = Field(default=None, description="file: its column, if it has several.")
    permuted: bool = Field(default=False, description="Deal the scores out at random: a control.")
    labels: Literal["as_pretraining", "clean"] = Field(
        default="as_pretraining",
        description="With label noise: score with the labels that pre-training sees, or clean.",
    )
    batch_norm: ScoreBatchNorm | None = Field(
        default=None,
        description="Running statistics of a score that is computed from a forward pass. Default: recalibrate, "
        "measured again on the training images; eval: as the short training left them; lth_diet: train mode on "
        "class-sorted batches, as in the public notebook.",
    )
    per_replicate: bool = Field(
        default=False, description="Train models of its own for each replicate, whose subsets are chosen by them."
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
    label_noise: NoiseSpec | None = Field(default=None, description="Instead of the study's.")
    ticket: TicketSpec = TicketSpec()


class MeasureSpec(Part):
    """What is measured between the networks of a family (a parent and its children)."""

    levels: tuple[Annotated[int, Field(ge=0, le=MOST_LEVELS)], ...] = Field(
        default=(0,),
        max_length=MOST_LEVELS + 1,
        description="Levels that get children, each under its level's mask; 0 is dense.",
    )
    gradient_agreement: bool = Field(
        default=False,
        description="At each rewinding point, mean cosine between gradients of batches: all data, subset.",
    )
    successive_levels: bool = Field(default=False, description="Also the barrier between each level and the next.")
    alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.5,), max_length=MOST_ALPHAS, description="Points on the line."
    )
    tolerance: float = Field(
        default=DEFAULT_TOLERANCE,
        ge=0,
        allow_inf_nan=False,
        description="Barrier in nats up to which an example is connected.",
    )
    batch_norm: Literal["interpolate", "recalibrate", "batch"] = Field(
        default="interpolate", description="What becomes of BatchNorm's buffers between the ends."
    )
    precision: Precision | None = Field(default=None, description="Of the forward passes; default that of training.")
    predict_level: int | None = Field(
        default=None,
        ge=0,
        le=MOST_LEVELS,
        description="Level whose accuracy the prediction figures show; default the sparsest.",
    )
