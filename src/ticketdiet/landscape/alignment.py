"""Puts the units of one network in the order of another's, to distinguish *unconnected* from *merely permuted*.

Weight matching (Ainsworth et al., arXiv 2209.04836, algorithm 1) needs the weights only; activation matching (Li et
al., arXiv 1511.07543) correlates what the units do on images. Either way the aligned network computes the same function
as before.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, fx, nn

from ticketdiet.core.errors import UserError, check_known
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.core.values import Images, Mask, Weights
from ticketdiet.landscape.interpolation import check_weights
from ticketdiet.landscape.modes import AlignmentMethod
from ticketdiet.landscape.symmetries import (
    GroupAxis,
    Permutation,
    PermutationGroup,
    Symmetries,
    find_symmetries,
    permute_axis,
)
from ticketdiet.training.evaluation import device_of, evaluating, prepared_chunks

Costs = NDArray[np.float64]

_RUNNING = ("running_mean", "running_var")
_CHUNK = 100  # images whose activations are held at once


@dataclass(frozen=True, eq=False)
class Alignment:
    """Network b with its units in the order of a's.

    Attributes:
        weights: All tensors of b, permuted.
        orders: One permutation (int64) per group: unit i of the result is unit ``orders[g][i]`` of b.
        method: ``"weights"`` or ``"activations"``.
        distance_before: Euclidean distance between the parameters of a and b that any order touches.
        distance_after: The same between a and the aligned b.
        sweeps: Passes over the groups until nothing changed (1 for activations).
        seed: Seed of the order in which groups were visited.
        symmetries: The groups.
    """

    weights: Weights
    orders: tuple[Permutation, ...]
    method: str
    distance_before: float
    distance_after: float
    sweeps: int
    seed: int
    symmetries: Symmetries

    def permute(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return other tensors of b, such as its mask, in the same order."""
        return self.symmetries.permute(tensors, self.orders)

    def permute_mask(self, mask: Mask | None) -> Mask | None:
        """Return the mask of b in the same order; None, a dense network, stays None."""
        return None if mask is None else self.permute(mask)


def align(
    model: nn.Module,
    weights_a: Weights,
    weights_b: Weights,
    *,
    method: AlignmentMethod = "weights",
    images: Images | None = None,
    seed: int = 0,
    max_sweeps: int = 100,
) -> Alignment:
    """Find the order of b's units that brings it nearest to a.

    Args:
        model: A module of their shape, traceable by ``torch.fx``; it stays as it is.
        weights_a: ``state_dict`` of network a.
        weights_b: ``state_dict`` of network b.
        method: ``"weights"`` maximises the inner product of the weights, one group at a time until no group improves (a
            local optimum); ``"activations"`` maximises the correlation of what units compute on ``images``, before the
            nonlinearity, where units that never fire still differ.
        images: For ``"activations"``: a few hundred un-augmented images.
        seed: Seed of the order in which groups are visited; equal calls give equal alignments.
        max_sweeps: Passes over all groups before stopping.

    Returns:
        The aligned weights, which compute the same function as ``weights_b``.

    Raises:
        UnknownName: For another method.
        UserError: When networks differ in shape, are not finite, have no known symmetries, or images are missing.
    """
    check_known("alignment method", method, get_args(AlignmentMethod))
    check_weights(model.state_dict(), weights_a, "a")
    check_weights(model.state_dict(), weights_b, "b")
    symmetries = find_symmetries(copy.deepcopy(model))
    if method == "weights":
        orders, sweeps = _match_weights(symmetries, weights_a, weights_b, seed, max_sweeps)
    elif images is None or len(images) == 0:
        raise UserError(
            "Activation matching needs images, and there are none.",
            expected="at least one image",
            way_out="give images, or method='weights'",
        )
    else:
        orders, sweeps = _match_activations(symmetries, weights_a, weights_b, images), 1
    aligned = symmetries.permute(weights_b, orders)
    before, after = (_distance(symmetries, weights_a, other) for other in (weights_b, aligned))
    return Alignment(aligned, orders, method, before, after, sweeps, seed, symmetries)


def _match_weights(
    symmetries: Symmetries, a: Weights, b: Weights, seed: int, max_sweeps: int
) -> tuple[tuple[Permutation, ...], int]:
    touched = {place.tensor for group in symmetries.groups for place in _parameters(group)}
    fixed, moving = ({name: side[name].detach().double().cpu() for name in touched} for side in (a, b))
    orders = [np.arange(group.size) for group in symmetries.groups]
    sweep, improved = 0, True
    while improved and sweep < max_sweeps:
        improved = False
        for index in numpy_generator(seed, "matching", sweep).permutation(len(orders)):
            group = symmetries.groups[index]
            order = _better_order(group, fixed, moving)
            if order is not None:
                for place in _parameters(group):
                    moving[place.tensor] = permute_axis(moving[place.tensor], place, order)
                orders[index] = orders[index][order]
                improved = True
        sweep += 1
    return tuple(orders), sweep


def _better_order(group: PermutationGroup, fixed: Weights, moving: Weights) -> Permutation | None:
    """Return the best order of one group with the others held, or None if it is no better than the present one."""
    places = _parameters(group)
    products = sum((_products(fixed[p.tensor], moving[p.tensor], p, group.size) for p in places), start=_zeros(group))
    order = _assign(products)
    gain = float(products[np.arange(group.size), order].sum() - np.trace(products))
    doubled = [name for name, count in Counter(place.tensor for place in places).items() if count > 1]
    if doubled:
        # A tensor that reads and writes the same units makes the gain quadratic, so the assignment is only a proposal.
        names = {place.tensor for place in places}
        after = {name: moving[name] for name in names}
        for place in places:
            after[place.tensor] = permute_axis(after[place.tensor], place, order)
        gain = float(sum((fixed[name] * (after[name] - moving[name])).sum() for name in names))
    return order if gain > 1e-9 * (1 + float(np.abs(products).max())) else None


def _products(fixed: Tensor, moving: Tensor, place: GroupAxis, size: int) -> Costs:
    rows, columns = (side.movedim(place.axis, 0).reshape(size, -1) for side in (fixed, moving))
    products: Costs = (rows @ columns.T).numpy()
    return products


def _match_activations(symmetries: Symmetries, a: Weights, b: Weights, images: Images) -> tuple[Permutation, ...]:
    """Return for each group the order that maximises the summed correlation of a's units with b's."""
    readers = {name: index for index, group in enumerate(symmetries.groups) for name in group.written_at}
    moments = {name: _Moments(symmetries.groups[index].size) for name, index in readers.items()}
    graph = symmetries.graph
    sizes = {name: moment.size for name, moment in moments.items()}
    with evaluating(graph), torch.no_grad():
        for inputs, _ in prepared_chunks(images, _CHUNK, device_of(graph)):
            seen = []
            for weights in (a, b):
                graph.load_state_dict(dict(weights))
                recorder = _Recorder(graph, sizes)
                recorder.run(inputs)
                seen.append(recorder.seen)
            for name, moment in moments.items():
                moment.add(seen[0][name], seen[1][name])
    correlations = [_zeros(group) for group in symmetries.groups]
    for name, index in readers.items():
        correlations[index] += moments[name].correlation()
    return tuple(_assign(correlation) for correlation in correlations)


class _Recorder(fx.Interpreter):
    """Runs the graph and keeps the values of named nodes as (units, samples), before anything overwrites them."""

    def __init__(self, graph: fx.GraphModule, sizes: Mapping[str, int]) -> None:
        super().__init__(graph)
        self._sizes = sizes
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n.name in self._sizes:
            by_unit = value.reshape(len(value), self._sizes[n.name], -1).movedim(1, 0)
            self.seen[n.name] = by_unit.reshape(self._sizes[n.name], -1).double()
        return value


class _Moments:
    """Sums from which the correlation between units of a and units of b is computed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._count = 0
        self._sums = torch.zeros(2, size, dtype=torch.float64)
        self._squares = torch.zeros(2, size, dtype=torch.float64)
        self._cross = torch.zeros(size, size, dtype=torch.float64)

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add samples of both networks, each (size, samples)."""
        self._count += a.shape[1]
        for row, values in enumerate((a, b)):
            self._sums[row] += values.sum(1).cpu()
            self._squares[row] += (values**2).sum(1).cpu()
        self._cross += (a @ b.T).cpu()

    def correlation(self) -> Costs:
        """Return float64 (units of a, units of b); 0 for units that never change."""
        mean, variance = self._sums / self._count, self._squares / self._count
        variance = (variance - mean**2).clamp_min(0)
        spread = torch.where(variance > 1e-12, variance, torch.inf).sqrt()
        covariance = self._cross / self._count - torch.outer(mean[0], mean[1])
        correlation: Costs = (covariance / torch.outer(spread[0], spread[1])).numpy()
        return correlation


def _parameters(group: PermutationGroup) -> tuple[GroupAxis, ...]:
    return tuple(place for place in group.axes if not place.tensor.endswith(_RUNNING))


def _distance(symmetries: Symmetries, a: Weights, b: Weights) -> float:
    names = {place.tensor for group in symmetries.groups for place in _parameters(group)}
    squares = sum(float((a[name].double().cpu() - b[name].double().cpu()).square().sum()) for name in names)
    return math.sqrt(squares)


def _zeros(group: PermutationGroup) -> Costs:
    return np.zeros((group.size, group.size))


def _assign(gains: Costs) -> Permutation:
    order: Permutation = linear_sum_assignment(gains, maximize=True)[1].astype(np.int64)
    return order
