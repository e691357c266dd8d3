"""What a study file says about measurements beside accuracy and loss: children, barriers, gradients, metrics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ticketdiet.core.options import checked
from ticketdiet.landscape.tolerance import DEFAULT_TOLERANCE
from ticketdiet.studies import registries
from ticketdiet.studies.part import MOST_ALPHAS, MOST_LEVELS, MOST_METRICS, Part
from ticketdiet.training.recipe import Precision


class MeasureSpec(Part):
    """What is measured between the networks of a family (a parent and its children)."""

    levels: tuple[Annotated[int, Field(ge=0, le=MOST_LEVELS)], ...] = Field(
        default=(0,),
        max_length=MOST_LEVELS + 1,
        description="Levels whose networks get children, under the mask of the level. Level 0 is dense.",
    )
    gradient_agreement: bool = Field(
        default=False,
        description="Whether the mean cosine between gradients of batches is measured at each rewinding point, for "
        "all data and for the subset.",
    )
    successive_levels: bool = Field(
        default=False, description="Whether the barrier between each level and the next is measured too."
    )
    alphas: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.5,), max_length=MOST_ALPHAS, description="Points on the line between two networks, from 0 to 1."
    )
    tolerance: float = Field(
        default=DEFAULT_TOLERANCE,
        ge=0,
        allow_inf_nan=False,
        description="Barrier in nats up to which an example is connected.",
    )
    batch_norm: Literal["interpolate", "recalibrate", "batch"] = Field(
        default="interpolate",
        description="Which running statistics BatchNorm has between the ends. interpolate: mixed like weights; "
        "recalibrate: measured again; batch: those of each batch.",
    )
    precision: Precision | None = Field(
        default=None, description="Precision of the forward passes. The default is that of training."
    )
    metrics: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        max_length=MOST_METRICS,
        description="Further numbers of every network that an arm reports, each with its options: calibration_error, "
        "dead_channels, distance, or a registered name.",
    )
    predict_level: int | None = Field(
        default=None,
        ge=0,
        le=MOST_LEVELS,
        description="Level whose accuracy the prediction figures show. The default is the sparsest.",
    )

    @model_validator(mode="after")
    def _metrics_are_known(self) -> MeasureSpec:
        for name, options in self.metrics.items():
            checked(registries.metrics(), name, options)
        return self
