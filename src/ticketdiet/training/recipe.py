"""What a training is: steps, batch, optimiser, schedule, augmentation, precision, as one frozen value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ticketdiet.kernels.line import SparseKernels

Precision = Literal["float32", "bfloat16"]
ScheduleKind = Literal["multistep", "cosine", "constant"]
# Far beyond any training, so that a slip of the pen is refused.
MOST_STEPS = 10**9
MOST_EXAMPLES = 10**6
MOST_MILESTONES = 1000
MOST_PADDING = 1000

_FEWEST_FOR_FRACTIONS = 4  # with fewer steps even the default fractions fall on one step or on step 0


class Recipe(BaseModel):
    """How a network is trained, from step 0 to ``steps``. One step is one SGD update.

    A milestone is a step when it is an integer, and a fraction of ``steps`` in (0, 1] when it is a float, so that a
    shortened study keeps the shape of its schedule. 1 is step 1; 1.0 is the end, which no step reaches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(
        default=62400, ge=1, le=MOST_STEPS, description="Steps of a whole training, pre-training included (T)."
    )
    batch_size: int = Field(default=128, ge=1, le=MOST_EXAMPLES, description="Examples a step.")
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="Learning rate before any decay.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD.")
    nesterov: bool = Field(default=False, description="Nesterov's form of momentum.")
    weight_decay: float = Field(
        default=1e-4, ge=0, allow_inf_nan=False, description="L2 on every parameter, BatchNorm and biases included."
    )
    schedule: ScheduleKind = Field(default="multistep", description="How the learning rate falls.")
    milestones: tuple[Annotated[int | float, Field(gt=0, le=MOST_STEPS, allow_inf_nan=False)], ...] = Field(
        default=(0.5, 0.75),
        max_length=MOST_MILESTONES,
        description="multistep: where lr is multiplied by gamma. Whole numbers are steps, numbers with a point are "
        "fractions of the steps in (0, 1]: 1 is step 1, 1.0 the end.",
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="multistep: the factor at each milestone.")
    warmup_steps: int = Field(
        default=0, ge=0, le=MOST_STEPS, description="Steps over which lr rises linearly from lr / warmup_steps."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the training loss.")
    crop_padding: int = Field(
        default=4, ge=0, le=MOST_PADDING, description="Zero padding of the random crop, in pixels; 0: no crop."
    )
    flip: bool = Field(default=True, description="Random horizontal flips.")
    precision: Precision = Field(
        default="float32",
        description="float32: float32 throughout; bfloat16: autocast with float32 weights, faster only where the "
        "hardware computes in bfloat16.",
    )
    sparse_kernels: SparseKernels = Field(
        default="auto",
        description="Kernels that only touch kept weights (CPU, float32): for layers of at most this density, "
        "and for a built-in ResNet when all its convolutions together are; auto: 0.2, a ResNet 0.3; off: never.",
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
            raise ValueError("sparse_kernels is true, not auto, off or a density above 0 and at most 1")
        return "off" if chosen is False else chosen

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        if self.schedule == "multistep" and self.steps >= _FEWEST_FOR_FRACTIONS:
            self._check_milestones()
        return self

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

    def identity(self) -> dict[str, object]:
        """JSON-able fields that can change a number: milestones as steps, and only what the schedule uses."""
        fields = self.model_dump()
        del fields["milestones"], fields["gamma"]
        if self.precision != "float32":
            fields["sparse_kernels"] = "off"
        if self.schedule == "multistep":
            fields |= {"milestones": list(self.milestone_steps()), "gamma": self.gamma}
        return fields
