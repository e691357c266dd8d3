"""What a training is: steps, batch, optimiser, loss, schedule, augmentation, precision, as one frozen value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ticketdiet.core.options import Configurable, checked
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.training.modes import Precision as Precision
from ticketdiet.training.optimisers import OPTIMISERS, Optimiser

if TYPE_CHECKING:
    from ticketdiet.training.losses import Loss

C = TypeVar("C", bound=Configurable)
ScheduleKind = Literal["multistep", "cosine", "constant"]
# Far beyond any training, so that a typing error is refused.
MOST_STEPS = 10**9
MOST_EXAMPLES = 10**6
MOST_MILESTONES = 1000
MOST_PADDING = 1000

Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

_USUAL_OPTIMISER, _USUAL_LOSS = "sgd", "cross_entropy"
_KEYS_OF = {"optimiser": frozenset({"momentum", "nesterov"}), "loss": frozenset({"label_smoothing"})}
_FEWEST_FOR_FRACTIONS = 4  # with fewer steps even the default fractions fall on one step or on step 0


_identities: dict[str, dict[str, object]] = {}  # of recipes, by all that they hold


class Recipe(BaseModel):
    """How a network is trained, from step 0 to ``steps``. One step is one update of the optimiser.

    The loss is what training minimises; evaluation is in cross-entropy under every loss.

    A milestone is a step when it is an integer, and a fraction of ``steps`` in (0, 1] when it is a float, so that a
    shortened study keeps the shape of its schedule. 1 is step 1; 1.0 is the end, which no step reaches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(
        default=62400,
        ge=1,
        le=MOST_STEPS,
        description="Number of steps of a whole training (T), pre-training included.",
    )
    batch_size: int = Field(default=128, ge=1, le=MOST_EXAMPLES, description="Number of examples per step.")
    optimiser: str = Field(default="sgd", description="sgd, adamw, or a registered name.")
    optimiser_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the optimiser. adamw: betas (0.9, 0.999), eps (1e-8)."
    )
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="Learning rate before any decay.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd: the momentum.")
    nesterov: bool = Field(default=False, description="sgd: whether the momentum has Nesterov's form.")
    weight_decay: float = Field(
        default=1e-4,
        ge=0,
        allow_inf_nan=False,
        description="Weight decay of every parameter, BatchNorm and biases included: L2 for sgd, decoupled for adamw.",
    )
    schedule: ScheduleKind = Field(default="multistep", description="How the learning rate falls.")
    milestones: tuple[Annotated[int | float, Field(gt=0, le=MOST_STEPS, allow_inf_nan=False)], ...] = Field(
        default=(0.5, 0.75),
        max_length=MOST_MILESTONES,
        description="multistep: where lr is multiplied by gamma. A whole number is a step, and a number with a point "
        "is a fraction of the steps in (0, 1]: 1 is step 1, and 1.0 is the end.",
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="multistep: the factor at each milestone.")
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=MOST_STEPS,
        description="Number of steps over which lr rises linearly from lr / warmup_steps.",
    )
    loss: str = Field(
        default="cross_entropy",
        description="What training minimises: cross_entropy, squared_error, focal, or a registered name. Evaluation "
        "always uses cross-entropy.",
    )
    loss_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the loss. squared_error: weight (1), target (1); focal: gamma (2).",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="cross_entropy: the amount of label smoothing.")
    crop_padding: int = Field(
        default=4, ge=0, le=MOST_PADDING, description="Zero padding before the random crop, in pixels; 0: no crop."
    )
    flip: bool = Field(default=True, description="Whether images are flipped horizontally at random.")
    resized_crop: tuple[Fraction, Fraction] | None = Field(
        default=None,
        description="Lowest and highest fraction of the area for random resized crops, such as [0.08, 1.0], instead of "
        "crop_padding: a random part of the image, of a ratio from 3/4 to 4/3, scaled to the size of the image.",
    )
    precision: Precision = Field(
        default="float32",
        description="float32: float32 throughout; bfloat16: autocast with float32 weights, which is faster only where "
        "the hardware computes in bfloat16.",
    )
    ghost_batch_size: int | None = Field(
        default=None,
        ge=2,
        le=MOST_EXAMPLES,
        description="Number of examples that BatchNorm normalises together in training, a divisor of batch_size. The "
        "default is the whole batch, however many devices share it.",
    )
    sparse_kernels: SparseKernels = Field(
        default="auto",
        description="When kernels are used that only touch kept weights (CPU, float32). A density: for layers of at "
        "most this density, and for a built-in ResNet when all its convolutions together have at most "
        "this density; auto: for a built-in ResNet 1, 0.7, 0.5 or 0.4 with up to 8, 16, 32 or more channels in "
        "its first convolution, and 0.2 for other layers; off: never.",
    )

    @field_validator("milestones")
    @classmethod
    def _fractions_are_at_most_one(cls, milestones: tuple[int | float, ...]) -> tuple[int | float, ...]:
        for milestone in milestones:
            if isinstance(milestone, float) and not milestone <= 1:
                raise ValueError(
                    f"milestone {milestone} has a point, so it is a fraction of the steps, and it is above 1; "
                    "give a step as a whole number without a point, or a fraction in (0, 1]"
                )
        return milestones

    @field_validator("sparse_kernels", mode="before")
    @classmethod
    def _off_may_be_a_yaml_boolean(cls, chosen: object) -> object:
        if chosen is True:
            raise ValueError("sparse_kernels is true; give auto, off, or a density above 0 and at most 1")
        return "off" if chosen is False else chosen

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov has no effect with momentum 0; give a momentum above 0, or leave nesterov out")
        if self.ghost_batch_size is not None and self.batch_size % self.ghost_batch_size:
            raise ValueError(
                f"ghost_batch_size {self.ghost_batch_size} does not divide batch_size {self.batch_size}; give a divisor"
            )
        if self.schedule == "multistep" and self.steps >= _FEWEST_FOR_FRACTIONS:
            self._check_milestones()
        return self

    @model_validator(mode="after")
    def _crops_in_one_way(self) -> Recipe:
        if self.resized_crop is None:
            return self
        if self.resized_crop[0] > self.resized_crop[1]:
            raise ValueError(f"resized_crop is {list(self.resized_crop)}; give the lower fraction first")
        if self.crop_padding != type(self).model_fields["crop_padding"].default:
            raise ValueError("crop_padding has no effect with resized_crop; leave crop_padding out")
        return self

    @model_validator(mode="after")
    def _keys_have_an_effect(self) -> Recipe:
        for part, uses in (("optimiser", self._optimiser_uses()), ("loss", self._loss_uses())):
            for key in sorted(_KEYS_OF[part] - uses):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(
                        f"{key} has no effect with {part} {getattr(self, part)!r}; leave {key} out, or choose another "
                        f"{part}"
                    )
        return self

    def _optimiser_uses(self) -> frozenset[str]:
        return checked(OPTIMISERS, self.optimiser, self.optimiser_options).uses

    def _loss_uses(self) -> frozenset[str]:
        if self.loss == _USUAL_LOSS and not self.loss_options:
            return _KEYS_OF["loss"]  # reading a study of the usual loss must not import torch
        from ticketdiet.training.losses import LOSSES

        return checked(LOSSES, self.loss, self.loss_options).uses

    def _check_milestones(self) -> None:
        by_step: dict[int, int | float] = {}
        for milestone in self.milestones:
            step = round(milestone * self.steps) if isinstance(milestone, float) else milestone
            if step == 0:
                raise ValueError(
                    f"milestone {milestone} of {self.steps} steps is step 0, so no step would have the rate lr; "
                    "give a larger fraction, or a lower lr"
                )
            if step in by_step:
                raise ValueError(
                    f"milestones {by_step[step]} and {milestone} of {self.steps} steps are both step {step}; "
                    "give each step once, or a smaller gamma"
                )
            by_step[step] = milestone

    def milestone_steps(self) -> tuple[int, ...]:
        """Milestones as steps, ascending; each is at least 1."""
        steps = (round(m * self.steps) if isinstance(m, float) else m for m in self.milestones)
        return tuple(sorted(max(1, step) for step in steps))

    def make_optimiser(self) -> Optimiser:
        """Make the optimiser; see :mod:`ticketdiet.training.optimisers`."""
        found = OPTIMISERS.get(self.optimiser)
        return found(self._values_of({"weight_decay", *found.uses}), self.optimiser_options)

    def make_loss(self) -> Loss:
        """Make the loss; see :mod:`ticketdiet.training.losses`."""
        from ticketdiet.training.losses import LOSSES

        found = LOSSES.get(self.loss)
        return found(self._values_of(found.uses), self.loss_options)

    def _values_of(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: getattr(self, key) for key in keys}

    def identity(self) -> dict[str, object]:
        """Return the JSON-able fields that can change a number: milestones as steps, and only what is used.

        Options are written out with their defaults. SGD and cross-entropy are known by ``momentum`` and
        ``label_smoothing``, without a name.
        """
        # Every stage of a study asks, and most stages have one recipe.
        text = self.model_dump_json()
        if text not in _identities:
            _identities[text] = self._identity()
        return dict(_identities[text])

    def _identity(self) -> dict[str, object]:
        fields = self.model_dump()
        for key in ("milestones", "gamma", "optimiser", "optimiser_options", "loss", "loss_options"):
            del fields[key]
        if self.resized_crop is None:
            del fields["resized_crop"]
        else:
            del fields["crop_padding"]
            fields["resized_crop"] = list(self.resized_crop)
        if self.precision != "float32":
            fields["sparse_kernels"] = "off"
        if self.ghost_batch_size is None:
            del fields["ghost_batch_size"]
        if self.schedule == "multistep":
            fields |= {"milestones": list(self.milestone_steps()), "gamma": self.gamma}
        for part, uses in (("optimiser", self._optimiser_uses()), ("loss", self._loss_uses())):
            for key in _KEYS_OF[part] - uses:
                del fields[key]
        if self.optimiser != _USUAL_OPTIMISER:
            options = self.make_optimiser().options.model_dump(mode="json")
            fields |= {"optimiser": self.optimiser, "optimiser_options": options}
        if self.loss != _USUAL_LOSS:
            fields |= {"loss": self.loss, "loss_options": self.make_loss().options.model_dump(mode="json")}
        return fields
