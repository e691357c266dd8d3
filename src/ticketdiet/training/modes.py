"""Choices of training and evaluation by name: the command line offers them with this module alone, without torch."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["float32", "bfloat16"]
# What becomes of BatchNorm's running statistics between two networks; see ``training.batch_norm``.
BatchNormPolicy = Literal["interpolate", "recalibrate", "batch"]
BATCH_NORM_POLICIES: tuple[BatchNormPolicy, ...] = get_args(BatchNormPolicy)
