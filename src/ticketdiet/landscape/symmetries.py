"""Finds the permutation symmetries of a network in its traced graph.

Hidden units (channels) of a layer can be put in another order if everything that reads them follows; residual additions
tie the orders of several layers together. The groups below are all such freedoms: permuting within them leaves the
function of the network as it is (Entezari et al., arXiv 2110.06296; Ainsworth et al., arXiv 2209.04836).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ticketdiet.core.errors import UserError

Permutation = NDArray[np.int64]

_ELEMENTWISE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Softmax, nn.LogSoftmax, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
_ELEMENTWISE_NAMES = """
    relu relu_ relu6 leaky_relu leaky_relu_ elu gelu silu mish hardswish softplus tanh tanh_ sigmoid sigmoid_ softmax
    log_softmax dropout dropout2d contiguous clone max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d
"""
_COMBINING_NAMES = "add add_ iadd sub sub_ isub mul mul_ imul"
_SHAPE_NAMES = "size getattr getitem"
_ELEMENTWISE, _COMBINING, _SHAPES = (
    frozenset(names.split()) for names in (_ELEMENTWISE_NAMES, _COMBINING_NAMES, _SHAPE_NAMES)
)
SUPPORTED = "Conv2d, Linear, BatchNorm, activations, pooling, dropout, flatten, mean over positions, addition"


@dataclass(frozen=True)
class GroupAxis:
    """One axis of one tensor that follows a group's order.

    Attributes:
        tensor: ``state_dict`` name.
        axis: 0 for what a layer writes, 1 for what it reads.
        block: Consecutive entries that a unit has along this axis: positions of a channel after flattening, else 1.
    """

    tensor: str
    axis: int
    block: int


@dataclass(frozen=True)
class PermutationGroup:
    """Units whose common order is free.

    Attributes:
        size: Number of units.
        axes: Every axis of every tensor that follows their order.
        written_at: Graph nodes that write values in this order, before the nonlinearity.
    """

    size: int
    axes: tuple[GroupAxis, ...]
    written_at: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Symmetries:
    """All permutation groups of a network.

    Attributes:
        groups: In the order of the graph.
        graph: The traced network.
    """

    groups: tuple[PermutationGroup, ...]
    graph: fx.GraphModule

    def permute(self, tensors: Mapping[str, Tensor], orders: tuple[Permutation, ...]) -> dict[str, Tensor]:
        """Return tensors with units in another order: unit i of the result is unit ``orders[group][i]`` of ``tensors``.

        Args:
            tensors: Weights, or a mask, or any mapping with the names of some of the network's tensors.
            orders: One permutation (int64) per group.

        Returns:
            All tensors, new ones where an order applies.
        """
        permuted = dict(tensors)
        for group, order in zip(self.groups, orders, strict=True):
            for place in group.axes:
                if place.tensor in permuted:
                    permuted[place.tensor] = permute_axis(permuted[place.tensor], place, order)
        return permuted


def permute_axis(tensor: Tensor, place: GroupAxis, order: Permutation) -> Tensor:
    """Return ``tensor`` with the units along one axis in another order."""
    index = (order[:, None] * place.block + np.arange(place.block)).reshape(-1)
    return tensor.index_select(place.axis, torch.from_numpy(index).to(tensor.device))


def find_symmetries(model: nn.Module) -> Symmetries:
    """Find the permutation groups of a network from its graph.

    Units of the input and of the output have a meaning of their own and belong to no group.

    Args:
        model: Any module that ``torch.fx`` can trace and that is made of the supported layers; it stays as it is.

    Returns:
        The groups, with the traced network.

    Raises:
        UserError: When it cannot be traced, or has a part whose symmetries are not known; the part is named.
    """
    try:
        graph = fx.symbolic_trace(model)
    except Exception as error:
        raise UserError(
            f"The network {type(model).__name__} cannot be traced: {type(error).__name__}: {error}",
            expected="a forward without branches that depend on the data",
            way_out="measure the barrier without alignment",
        ) from error
    return Symmetries(_Walk(graph).groups(), graph)


@dataclass(frozen=True)
class _Value:
    """What is known of a tensor in the graph: whose units are on axis 1, and whether positions are still apart."""

    space: int
    flat: bool


class _Walk:
    """Follows the units through the graph; spaces that must have the same order are united."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph
        self._modules = dict(graph.named_modules())
        self._parent = [0]  # space 0: units of the input and of the output, whose order is fixed
        self._size = [0]
        self._places: dict[int, list[GroupAxis]] = {}
        self._written_at: dict[int, list[str]] = {}
        self._values: dict[fx.Node, _Value | None] = {}
        self._outputs: dict[str, int] = {}
        for node in graph.graph.nodes:
            self._values[node] = self._visit(node)

    def groups(self) -> tuple[PermutationGroup, ...]:
        """Return the united spaces that are free."""
        places: dict[int, list[GroupAxis]] = {}
        written_at: dict[int, list[str]] = {}
        for space in range(1, len(self._parent)):
            root = self._root(space)
            places.setdefault(root, []).extend(self._places.get(space, []))
            written_at.setdefault(root, []).extend(self._written_at.get(space, []))
        return tuple(
            PermutationGroup(self._size[root], tuple(dict.fromkeys(axes)), tuple(dict.fromkeys(written_at[root])))
            for root, axes in places.items()
            if root != self._root(0) and self._size[root] > 1
        )

    def _visit(self, node: fx.Node) -> _Value | None:
        if node.op == "placeholder":
            return _Value(0, flat=False)
        if node.op == "output":
            for value in self._inputs(node):
                self._unite(0, value.space, node)
            return None
        if node.op == "call_module":
            return self._call_module(node, self._modules[str(node.target)])
        if node.op in ("call_function", "call_method"):
            return self._call(node, getattr(node.target, "__name__", str(node.target)))
        raise _unknown(node, f"the tensor {node.target!r} used outside a layer")

    def _call_module(self, node: fx.Node, module: nn.Module) -> _Value:
        value, name = self._input(node), str(node.target)
        if isinstance(module, nn.Conv2d):
            return self._convolution(node, module, name, value)
        if isinstance(module, nn.Linear):
            if not value.flat and value.space != 0:
                raise _unknown(node, "Linear on unflattened channels")
            self._follow(node, f"{name}.weight", 1, module.in_features, value.space)
            return _Value(self._write(node, name, module.out_features, module.bias is not None), flat=True)
        if isinstance(module, _BatchNorm):
            for tensor in ("weight", "bias", "running_mean", "running_var"):
                if getattr(module, tensor) is not None:
                    self._follow(node, f"{name}.{tensor}", 0, module.num_features, value.space)
            return value
        if isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
            return _Value(value.space, flat=True)
        if isinstance(module, _ELEMENTWISE_MODULES):
            return value
        raise _unknown(node, type(module).__name__)

    def _convolution(self, node: fx.Node, module: nn.Conv2d, name: str, value: _Value) -> _Value:
        if module.groups == 1:
            self._follow(node, f"{name}.weight", 1, module.in_channels, value.space)
            return _Value(self._write(node, name, module.out_channels, module.bias is not None), flat=False)
        if module.groups == module.in_channels == module.out_channels:
            for tensor in ("weight", "bias") if module.bias is not None else ("weight",):
                self._follow(node, f"{name}.{tensor}", 0, module.out_channels, value.space)
            return value
        raise _unknown(node, f"a convolution in {module.groups} groups")

    def _call(self, node: fx.Node, name: str) -> _Value | None:
        if name in _SHAPES:
            return None
        values = list(self._inputs(node))
        if name in _COMBINING and values:
            for other in values[1:]:
                self._unite(values[0].space, other.space, node)
            return values[0]
        if name in _ELEMENTWISE and values:
            return values[0]
        if name == "mean" and values and not values[0].flat and _dims(node) in ({2, 3}, {-1, -2}):
            keeps = bool(node.kwargs.get("keepdim", len(node.args) > 2 and node.args[2]))
            return _Value(values[0].space, flat=not keeps)
        if values and _flattens(node, name):
            return _Value(values[0].space, flat=True)
        raise _unknown(node, name)

    def _write(self, node: fx.Node, name: str, size: int, bias: bool) -> int:
        """Return the space of a layer's outputs, the same at every call of the layer."""
        if name not in self._outputs:
            self._parent.append(len(self._parent))
            self._size.append(size)
            self._outputs[name] = len(self._parent) - 1
        space = self._outputs[name]
        for tensor in ("weight", "bias") if bias else ("weight",):
            self._follow(node, f"{name}.{tensor}", 0, size, space)
        return space

    def _follow(self, node: fx.Node, tensor: str, axis: int, features: int, space: int) -> None:
        size = self._size[self._root(space)]
        if size and features % size:
            raise _unknown(node, f"{features} features from {size} units")
        block = features // size if size else 1
        self._places.setdefault(space, []).append(GroupAxis(tensor, axis, block))
        if axis == 0:
            # BatchNorm replaces the layer before it: it has the same units, with the sign and scale that count.
            written = self._written_at.setdefault(space, [])
            for name in {before.name for before in node.all_input_nodes if isinstance(before, fx.Node)} & {*written}:
                written.remove(name)
            if node.name not in written:
                written.append(node.name)

    def _root(self, space: int) -> int:
        while self._parent[space] != space:
            space = self._parent[space]
        return space

    def _unite(self, a: int, b: int, node: fx.Node) -> None:
        a, b = sorted((self._root(a), self._root(b)))
        if a != 0 and self._size[a] != self._size[b]:
            raise _unknown(node, f"{self._size[a]} units combined with {self._size[b]}")
        self._parent[b] = a

    def _inputs(self, node: fx.Node) -> Iterator[_Value]:
        for argument in node.all_input_nodes:
            value = self._values[argument]
            if value is not None:
                yield value

    def _input(self, node: fx.Node) -> _Value:
        for value in self._inputs(node):
            return value
        raise _unknown(node, "a layer without a tensor")


def _dims(node: fx.Node) -> set[Any]:
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    return set(dims) if isinstance(dims, (tuple, list)) else {dims}


def _flattens(node: fx.Node, name: str) -> bool:
    if name == "flatten":
        arguments = (*node.args[1:], *node.kwargs.values())
        return arguments in ((1,), (1, -1))
    shape = node.args[1:]
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    return name in ("view", "reshape") and len(shape) == 2 and isinstance(shape[1], int) and shape[1] == -1


def _unknown(node: fx.Node, what: str) -> UserError:
    return UserError(
        f"The permutation symmetries of {what} (at {node.name!r} of the network) are not known.",
        expected=f"a network made of: {SUPPORTED}",
        way_out="measure the barrier without alignment",
    )
