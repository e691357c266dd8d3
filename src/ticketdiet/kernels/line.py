"""The density up to which a layer takes the sparse kernels.

It is part of a recipe and no matter of the machine, so that the same study has the same numbers everywhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

SparseKernels = Literal["auto", "off"] | Annotated[float, Field(gt=0, le=1)]
AUTO_DENSITY = 0.3  # measured: docs/performance.md


def line_of(sparse_kernels: SparseKernels) -> float:
    """Return the line that a recipe's ``sparse_kernels`` stands for; 0 for never."""
    if sparse_kernels == "off":
        return 0.0
    return AUTO_DENSITY if sparse_kernels == "auto" else float(sparse_kernels)
