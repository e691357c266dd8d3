"""Choices of the measurements by name: the command line offers them with this module alone, without torch."""

from __future__ import annotations

from typing import Literal

AlignmentMethod = Literal["weights", "activations"]
CurvatureMatrix = Literal["hessian", "ggn"]
CurvatureBatchNorm = Literal["recalibrate", "eval", "batch"]
