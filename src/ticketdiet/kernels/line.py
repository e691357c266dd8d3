"""The density up to which a layer takes the sparse kernels.

It is part of a recipe and no matter of the machine, so that the same study has the same numbers everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

SparseKernels = Literal["auto", "off"] | Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Line:
    """Greatest densities that take the sparse kernels; 0 for never.

    Attributes:
        network: Of a built-in ResNet's convolutions together, which then all take them.
        layer: Of a single layer of any other network, which has to convert its input and output.
    """

    network: float
    layer: float


AUTO = Line(network=0.3, layer=0.2)  # measured: docs/performance.md


def line_of(sparse_kernels: SparseKernels) -> Line:
    """Return the line that a recipe's ``sparse_kernels`` means."""
    if sparse_kernels == "auto":
        return AUTO
    density = 0.0 if sparse_kernels == "off" else float(sparse_kernels)
    return Line(density, density)
