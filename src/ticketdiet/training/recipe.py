"""What a training is: steps, batch, optimiser, schedule, augmentation, precision, as one frozen value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ticketdiet.kernels.line import SparseKernels

Precision = Literal["bfloat16", "float32"]
ScheduleKind = Literal["multistep", "cosine", "constant"]


class Recipe(BaseModel):
    """How a network is trained, from step 0 to ``steps``. One step is one SGD update.

    Milestones are given as steps (integers) or as shares of ``steps`` (fractions below 1), so that a shortened study
    keeps the shape of its schedule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=62400, ge=1, description="Steps of a whole training, pre-training included (T).")
    batch_size: int = Field(default=128, ge=1, description="Examples a step.")
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="Learning rate before any decay.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD.")
    nesterov: bool = Field(default=False, description="Nesterov's form of momentum.")
    weight_decay: float = Field(
        default=1e-4, ge=0, allow_inf_nan=False, description="L2 on every parameter, BatchNorm and biases included."
    )
    schedule: ScheduleKind = Field(default="multistep", description="How the learning rate falls.")
    milestones: tuple[Annotated[int | float, Field(gt=0)], ...] = Field(
        default=(0.5, 0.75),
        description="multistep: steps, or shares of the steps below 1, at which lr is multiplied by gamma.",
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="multistep: the factor at each milestone.")
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which lr rises linearly from lr / warmup_steps.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the training loss.")
    crop_padding: int = Field(default=4, ge=0, description="Zero padding of the random crop, in pixels; 0: no crop.")
    flip: bool = Field(default=True, description="Random horizontal flips.")
    precision: Precision = Field(
        default="bfloat16", description="bfloat16: autocast with float32 weights; float32: float32 throughout."
    )
    sparse_kernels: SparseKernels = Field(
        default="auto",
        description="Kernels that only touch kept weights (CPU, float32): for layers of at most this density, "
        "and for a built-in ResNet when all its convolutions together are; auto: 0.2, a ResNet 0.3; off: never.",
    )

    @field_validator("milestones")
    @classmethod
    def _shares_are_below_one(cls, milestones: tuple[int | float, ...]) -> tuple[int | float, ...]:
        for milestone in milestones:
            if isinstance(milestone, float) and milestone >= 1 and not milestone.is_integer():
                raise ValueError(f"milestone {milestone} is neither a whole step nor a share below 1")
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
        return self

    def milestone_steps(self) -> tuple[int, ...]:
        """Milestones as steps, ascending."""
        return tuple(sorted(round(m * self.steps) if m < 1 else int(m) for m in self.milestones))

    def identity(self) -> dict[str, object]:
        """JSON-able fields that can change a number: milestones as steps, and only what the schedule uses."""
        fields = self.model_dump()
        del fields["milestones"], fields["gamma"]
        if self.precision != "float32":
            fields["sparse_kernels"] = "off"
        if self.schedule == "multistep":
            fields |= {"milestones": list(self.milestone_steps()), "gamma": self.gamma}
        return fields
