"""The loss over the plane through three networks, as in Garipov et al. (arXiv 1802.10026, appendix A).

A parent and two children span a plane in the space of weights. Whether they lie in one basin, or in three that hills
separate, is seen there at one look.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images, Weights
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.landscape.interpolation import check_weights
from ticketdiet.training.batch_norm import recalibrate
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.modes import Precision

POINTS, MARGIN = 15, 0.25
FLAT = 1e-6  # relative: three networks that are nearer to one line than this span no plane


@dataclass(frozen=True, eq=False)
class Plane:
    """Losses on a grid of the plane through three networks.

    Attributes:
        x: float64 (columns,): distance from the first network toward the second, in the space of weights.
        y: float64 (rows,): distance from the line through the first two, toward the third.
        losses: float64 (rows, columns): mean cross-entropy, nats.
        errors: float64 (rows, columns): fraction of wrong answers.
        corners: float64 (3, 2): x and y of the networks.
        examples: Number of examples that they are means over.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    corners: npt.NDArray[np.float64]
    examples: int


def measure_plane(
    model: nn.Module,
    networks: Sequence[Weights],
    images: Images,
    *,
    points: int = POINTS,
    margin: float = MARGIN,
    precision: Precision = "float32",
    sparse_kernels: SparseKernels = "auto",
) -> Plane:
    """Measure the loss on a grid of the plane through three networks.

    Statistics of BatchNorm are measured again at every point, on the same images: outside of the triangle, mixed
    variances could be negative. The losses at the three networks are therefore not exactly those with their own.

    Args:
        model: A module of their shape; a copy is used. The copy lives on its device.
        networks: ``state_dict`` of each of the three, buffers included.
        images: What the loss is measured on, un-augmented.
        points: Points of each side of the grid, at least 2.
        margin: How far the grid reaches beyond the three networks, as a fraction of their extent.
        precision: ``"float32"`` or ``"bfloat16"``.
        sparse_kernels: Density up to which the kernels for sparse networks are used, as in a recipe.

    Returns:
        The losses, with the places of the networks.

    Raises:
        UserError: For another number of networks, different shapes, weights that are not finite, networks on one line,
            no images, or fewer than two points.
    """
    if len(networks) != 3 or points < 2 or len(images) == 0:
        raise UserError(
            f"Got {len(networks)} networks, {points} points and {len(images)} images.",
            expected="three networks, at least two points of each side, and at least one image",
            way_out="give a parent, two children and the images that the loss is measured on",
        )
    probe = copy.deepcopy(model).requires_grad_(False)
    for number, weights in enumerate(networks, start=1):
        check_weights(probe.state_dict(), weights, f"network {number}")
    corners = _corners(probe, networks)
    (left, bottom), (right, top) = corners.min(0), corners.max(0)
    x = np.linspace(left - margin * (right - left), right + margin * (right - left), points)
    y = np.linspace(bottom - margin * (top - bottom), top + margin * (top - bottom), points)
    losses, errors = np.empty((points, points)), np.empty((points, points))
    probe.load_state_dict(dict(networks[0]))
    for row, column in np.ndindex(points, points):
        _write(probe, networks, _fractions(corners, float(x[column]), float(y[row])))
        recalibrate(probe, images, precision=precision, sparse_kernels=sparse_kernels)
        found = evaluate(probe, images, precision=precision, sparse_kernels=sparse_kernels)
        losses[row, column] = float(found.losses.double().mean())
        errors[row, column] = 1 - float(found.correct.double().mean())
    return Plane(x, y, losses, errors, corners, len(images))


def _corners(model: nn.Module, networks: Sequence[Weights]) -> npt.NDArray[np.float64]:
    """Places of the networks in the plane: the first at the origin, the second on the x axis."""
    names = [name for name, _ in model.named_parameters()]
    a, b, c = (torch.cat([weights[name].double().flatten().cpu() for name in names]) for weights in networks)
    u, v = b - a, c - a
    length = float(u.norm())
    along = float(u @ v) / length if length else 0.0
    height = float((v - along * u / length).norm()) if length else 0.0
    if height <= FLAT * length or not length:
        raise UserError(
            "The three networks lie on one line.",
            expected="three networks that span a plane",
            way_out="give three different networks, for example a parent and two children",
        )
    return np.array([[0.0, 0.0], [length, 0.0], [along, height]])


def _fractions(corners: npt.NDArray[np.float64], x: float, y: float) -> tuple[float, float, float]:
    """Return the fractions of the three networks, which add up to 1, at a place of the plane."""
    (_, _), (length, _), (along, height) = corners
    third = y / height
    second = (x - along * third) / length
    return 1 - second - third, second, third


@torch.no_grad()
def _write(model: nn.Module, networks: Sequence[Weights], fractions: tuple[float, float, float]) -> None:
    for name, parameter in model.named_parameters():
        mixed: Tensor = sum(  # type: ignore[assignment]
            fraction * weights[name].to(parameter.device, torch.float64)
            for fraction, weights in zip(fractions, networks, strict=True)
        )
        parameter.copy_(mixed)
