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
        networks: Of a built-in ResNet's convolutions together, which then all take them: pairs of the channels of the
            first convolution, ascending, up to which a density holds. The last density holds for more channels, too.
        layer: Of a single layer of any other network, which has to convert its input and output.
    """

    networks: tuple[tuple[int, float], ...]
    layer: float

    def network(self, channels: int) -> float:
        """Return the greatest density of a built-in ResNet whose first convolution has so many output channels."""
        return next((density for most, density in self.networks if channels <= most), self.networks[-1][1])


AUTO = Line(networks=((8, 1.0), (16, 0.7), (32, 0.5), (64, 0.4)), layer=0.2)  # measured: docs/performance.md


def line_of(sparse_kernels: SparseKernels) -> Line:
    """Return the line that a recipe's ``sparse_kernels`` means."""
    if sparse_kernels == "auto":
        return AUTO
    density = 0.0 if sparse_kernels == "off" else float(sparse_kernels)
    return Line(((1, density),), density)
