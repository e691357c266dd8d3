"""Curvature of the loss at given weights: the Hessian and the Gauss-Newton matrix as operators.

The space is that of all parameters, or that in which a sparse network trains: of a masked tensor only the kept weights,
of other tensors all. ``spectra`` computes eigenvalues, traces and densities of these operators.

Products with the Gauss-Newton matrix are curvlinops' (an extra). Products with the Hessian are reverse over reverse:
the forward-over-reverse products of ``torch.func`` are silently wrong through BatchNorm on batch statistics, LayerNorm
and InstanceNorm (pytorch issue 198017).

BatchNorm's running statistics lag behind the weights for some hundred steps, which can change an eigenvalue tenfold.
Statistics are therefore recalibrated by default.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.core.extras import import_extra
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.landscape.interpolation import check_mask_fits, check_weights
from ticketdiet.landscape.modes import CurvatureBatchNorm, CurvatureMatrix
from ticketdiet.training.batch_norm import batch_norms, batch_statistics, even_batches, recalibrate
from ticketdiet.training.batches import prepare
from ticketdiet.training.convolutions import safe_convolutions
from ticketdiet.training.evaluation import device_of

Vector = NDArray[np.float64]
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CurvatureSetting:
    """Of which matrix the numbers of a curvature are.

    Attributes:
        matrix: ``"hessian"`` or ``"ggn"``, of the mean cross-entropy.
        num_examples: Examples that the loss is the mean of.
        batch_norm: ``"recalibrate"`` for running statistics that were measured again, ``"eval"`` for those that the
            weights came with, ``"batch"`` for those of each batch.
        batch_size: Images per pass; under ``"batch"`` part of the meaning.
        dimension: Number of coordinates.
        kept_only: Whether removed weights are outside the space.
    """

    matrix: str
    num_examples: int
    batch_norm: str
    batch_size: int
    dimension: int
    kept_only: bool


@dataclass(frozen=True, eq=False)
class CurvatureOperator:
    """A symmetric matrix that is known by its products.

    Attributes:
        multiply: Maps a float64 vector (dimension,) to its product (dimension,).
        setting: What the matrix is.
    """

    multiply: Callable[[Vector], Vector]
    setting: CurvatureSetting

    @property
    def dimension(self) -> int:
        """Number of rows and columns."""
        return self.setting.dimension


def curvature_operator(
    model: nn.Module,
    weights: Weights,
    images: Images,
    *,
    matrix: CurvatureMatrix = "hessian",
    batch_norm: CurvatureBatchNorm = "recalibrate",
    calibration: Images | None = None,
    mask: Mask | None = None,
    batch_size: int = 1000,
    precision: Literal["float32", "float64"] = "float32",
) -> CurvatureOperator:
    """Make the operator of the Hessian or Gauss-Newton matrix of the mean cross-entropy at ``weights``.

    Args:
        model: A module of the shape of ``weights``; a copy of it is used, on its device.
        weights: ``state_dict`` to take the curvature at.
        images: Any set of examples (``images.take(subset)`` for a subset), un-augmented.
        matrix: ``"hessian"`` or ``"ggn"``; for ``"ggn"`` the extra ``curvature`` must be installed.
        batch_norm: ``"recalibrate"`` measures the running statistics again and holds them fixed; ``"eval"`` takes them
            as they are, which after a short training are not those of the weights; ``"batch"`` uses each batch's own,
            as training does, and takes the derivative through them.
        calibration: Training images to recalibrate on, up to 10 batches of 250; default ``images``.
        mask: Leave removed weights out of the space; None for the whole space. Coordinates follow
            ``model.named_parameters()``, each flat, removed ones skipped.
        batch_size: Images per pass; under ``"batch"`` lowered until all batches are of about the same size, and the
            images are taken in a fixed pseudo-random order.
        precision: Precision of the products.

    Returns:
        The operator; equal calls make operators with equal products on a CPU.

    Raises:
        UnknownName: For another matrix or BatchNorm mode.
        UserError: For weights of another shape or not finite (both name the tensor), a mask that fits no parameter, no
            images, fewer than two to recalibrate on, or the extra missing.
    """
    check_known("matrix", matrix, get_args(CurvatureMatrix))
    check_known("BatchNorm mode", batch_norm, get_args(CurvatureBatchNorm))
    if len(images) == 0 or batch_size < 1:
        raise UserError(
            f"There are {len(images)} images in batches of {batch_size}.",
            expected="at least one image, and a batch_size of at least 1",
            way_out="give images",
        )
    subject = _load(model, weights, torch.float64 if precision == "float64" else torch.float32)
    size = min(batch_size, len(images))
    if batch_norm == "recalibrate":
        _recalibrate(subject, images if calibration is None else calibration)
    elif batch_norm == "batch":
        size = even_batches(len(images), batch_size)
        images = images.take(numpy_generator(0, "batch_statistics").permutation(len(images)))
    batches = _batches(images, size, subject)
    parameters = [parameter for _, parameter in subject.named_parameters()]
    space = _Space(subject, mask)
    make = _hessian_product if matrix == "hessian" else _ggn_product
    product = make(subject, parameters, batches, len(images))

    def multiply(vector: Vector) -> Vector:
        statistics: AbstractContextManager[None] = batch_statistics(subject) if batch_norm == "batch" else nullcontext()
        with statistics, safe_convolutions(subject):
            return space.gather(product(space.scatter(vector)))

    kept_only = mask is not None
    setting = CurvatureSetting(matrix, len(images), batch_norm, size, space.dimension, kept_only)
    return CurvatureOperator(multiply, setting)


class _Space:
    """Coordinates of the space: a flat vector without the removed weights, and back to one tensor per parameter."""

    def __init__(self, model: nn.Module, mask: Mask | None) -> None:
        named = dict(model.named_parameters())
        check_mask_fits(named, mask or {})
        ones = {name: torch.ones(parameter.shape, dtype=torch.bool) for name, parameter in named.items()}
        kept = {**ones, **{name: tensor.cpu() != 0 for name, tensor in (mask or {}).items()}}
        self._indices = torch.cat([kept[name].flatten() for name in named]).nonzero()[:, 0]
        self._parameters = list(named.values())
        self._total = sum(parameter.numel() for parameter in self._parameters)
        self.dimension = len(self._indices)
        if self.dimension == 0:
            raise UserError(
                "The mask removes every weight.",
                expected="at least one kept weight",
                way_out="give the mask of a sparse network, or none",
            )

    def scatter(self, vector: Vector) -> list[Tensor]:
        first = self._parameters[0]
        full = torch.zeros(self._total, dtype=torch.float64)
        full[self._indices] = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float64).reshape(-1))
        sizes = [parameter.numel() for parameter in self._parameters]
        parts = torch.split(full.to(first.device, first.dtype), sizes)
        return [part.view(p.shape) for part, p in zip(parts, self._parameters, strict=True)]

    def gather(self, parts: list[Tensor]) -> Vector:
        full = torch.cat([part.detach().reshape(-1) for part in parts]).double().cpu()
        kept: Vector = full[self._indices].numpy()
        return kept


_Product = Callable[[list[Tensor]], list[Tensor]]


def _hessian_product(model: nn.Module, parameters: list[nn.Parameter], batches: Batches, total: int) -> _Product:
    def product(vector: list[Tensor]) -> list[Tensor]:
        result = [torch.zeros_like(part) for part in vector]
        for inputs, labels in batches:
            loss = F.cross_entropy(model(inputs), labels, reduction="sum") / total
            slopes = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
            along = torch.stack([(slope * part).sum() for slope, part in zip(slopes, vector, strict=True)]).sum()
            if along.requires_grad:
                for part, more in zip(
                    result, torch.autograd.grad(along, parameters, materialize_grads=True), strict=True
                ):
                    part += more
        return result

    return product


def _ggn_product(model: nn.Module, parameters: list[nn.Parameter], batches: Batches, total: int) -> _Product:
    operator = _curvlinops().GGNLinearOperator(
        model, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False, num_data=total
    )

    def product(vector: list[Tensor]) -> list[Tensor]:
        result: list[Tensor] = operator @ vector
        return result

    return product


def _curvlinops() -> Any:
    with _without_warnings():
        curvlinops = import_extra("curvlinops", "curvature", other="take matrix='hessian'")
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))  # type: ignore[no-untyped-call]
    return curvlinops


@contextmanager
def _without_warnings() -> Iterator[None]:
    # On first use, torch's forward mode loads deprecated parts of torch, which a user can do nothing about.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(model: nn.Module, weights: Weights, dtype: torch.dtype) -> nn.Module:
    check_weights(model.state_dict(), weights, "the weights")
    subject = copy.deepcopy(model)
    subject.load_state_dict(dict(weights))
    return subject.to(dtype).eval().requires_grad_(True)


def _recalibrate(subject: nn.Module, images: Images) -> None:
    """Measure the running statistics again, in float32, as images come, whatever the precision of the products."""
    single = copy.deepcopy(subject).float()
    recalibrate(single, images)
    for ours, theirs in zip(batch_norms(subject), batch_norms(single), strict=True):
        ours.load_state_dict({**ours.state_dict(), **dict(theirs.named_buffers())})


def _batches(images: Images, size: int, model: nn.Module) -> Batches:
    device, dtype = device_of(model), next(model.parameters()).dtype
    starts = range(0, len(images), size)
    pixels = (prepare(images.pixels[start : start + size].to(device), images).to(dtype) for start in starts)
    return [(part, images.labels[start : start + size].to(device)) for start, part in zip(starts, pixels, strict=True)]
