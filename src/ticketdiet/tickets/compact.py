"""Dead channels out of a sparse network: a smaller network of the same outputs, to float error, in eval mode.

A channel can go when nothing reads it, or when it holds the same value for every input and position: then whatever it
adds to the layers that read it is a constant, which they keep in their bias or in the mean of their BatchNorm. Both
happen one after another, since a channel that goes takes weights along, and with them the last readers or writers of
other channels.

A constant other than 0 does not become a bias behind a convolution that pads with zeros: at the border the padding
makes a difference, unless only the central weight reads it. There, all constant channels are merged into one of them,
which is exact at the border too.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ticketdiet.core.values import Mask
from ticketdiet.tickets.channels import ChannelSet, Layer, Read, channel_sets
from ticketdiet.tickets.masks import apply_mask, check_mask, prunable_names
from ticketdiet.tickets.resizing import put_tensors


@dataclass(frozen=True, eq=False)
class Compacted:
    """A network without its dead channels.

    Attributes:
        module: The smaller network, of the same class and with the same names, in eval mode.
        mask: Prunable name -> uint8 tensor of 0 and 1: which of the weights that are left are kept and not 0.
        channels: Name of every layer whose outputs changed in number -> (before, after).
    """

    module: nn.Module
    mask: dict[str, Tensor]
    channels: dict[str, tuple[int, int]]

    @property
    def num_parameters(self) -> int:
        """Number of parameters that are left, weights at 0 included."""
        return sum(parameter.numel() for parameter in self.module.parameters())


@torch.no_grad()
def compact(module: nn.Module, mask: Mask | None = None) -> Compacted:
    """Remove the channels that have no influence on the outputs, or a constant one that can be kept elsewhere.

    The outputs in eval mode are equal to float error. In train mode they are not: BatchNorm would normalise a constant.

    Args:
        module: A network of this package, on any device; it is left as it is.
        mask: Name -> tensor of 0 and 1 to apply first; None when removed weights are 0 already.

    Returns:
        The smaller network; at least one channel of every layer is left.

    Raises:
        UserError: For a network of another kind, or a mask that does not fit.
    """
    sets = channel_sets(module)
    tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}
    if mask is not None:
        check_mask(tensors, mask)
        tensors = apply_mask(tensors, mask)
    surgery = _Surgery(module, tensors, sets)
    while surgery.remove_once():
        pass
    smaller = copy.deepcopy(module).eval()
    put_tensors(smaller, surgery.remaining())
    weights = dict(smaller.named_parameters())
    kept = {name: (weights[name] != 0).to("cpu", torch.uint8) for name in prunable_names(smaller)}
    return Compacted(smaller, kept, surgery.changes())


class _Surgery:
    """The tensors of a network in their first sizes, and which channels are still alive."""

    def __init__(self, module: nn.Module, tensors: dict[str, Tensor], sets: tuple[ChannelSet, ...]) -> None:
        self.tensors, self.sets = tensors, sets
        modules = dict(module.named_modules())
        self.eps = {name: norm.eps for name, norm in modules.items() if isinstance(norm, nn.BatchNorm2d)}
        self.padding = {name: conv.padding for name, conv in modules.items() if isinstance(conv, nn.Conv2d)}
        written = [self._weight(channels.writers[0]) for channels in sets]
        self.alive = [torch.ones(len(weight), dtype=torch.bool, device=weight.device) for weight in written]

    def remove_once(self) -> bool:
        """Look at every set once, and say whether a channel went."""
        before = [int(alive.sum()) for alive in self.alive]
        for channels, alive in zip(self.sets, self.alive, strict=True):
            self._remove_from(channels, alive)
        return before != [int(alive.sum()) for alive in self.alive]

    def remaining(self) -> dict[str, Tensor]:
        """All tensors, without what belongs to removed channels."""
        left = dict(self.tensors)
        for channels, alive in zip(self.sets, self.alive, strict=True):
            for layer in channels.writers:
                for name in self._written_by(layer):
                    left[name] = left[name][alive]
            for layer in channels.readers:
                left[f"{layer.name}.weight"] = left[f"{layer.name}.weight"][:, alive]
        return {name: value.contiguous() for name, value in left.items()}

    def changes(self) -> dict[str, tuple[int, int]]:
        """Name of a layer -> its outputs before and after, where they differ."""
        found: dict[str, tuple[int, int]] = {}
        for channels, alive in zip(self.sets, self.alive, strict=True):
            if not bool(alive.all()):
                found |= {layer.name: (len(alive), int(alive.sum())) for layer in channels.writers}
        return found

    def _remove_from(self, channels: ChannelSet, alive: Tensor) -> None:
        read = torch.zeros_like(alive)
        for layer in channels.readers:
            read |= _any_nonzero(self._weight(layer).transpose(0, 1))
        held, constant = self._constants(channels)
        movable = constant.clone()
        for layer, values in held.items():
            movable &= (values == 0) | self._reads_away_from_borders(layer)
        gone = alive & (~read | movable)
        if bool((gone == alive).all()):
            gone[int(alive.nonzero()[0])] = False  # a layer without channels cannot be computed
        for layer, values in held.items():
            self._fold(layer, torch.where(gone & movable, values, 0))
        gone |= self._merge(held, alive & constant & read & ~movable)
        for layer in channels.readers:
            self._weight(layer)[:, gone] = 0
        for layer in channels.writers:
            self._weight(layer)[gone] = 0
        alive &= ~gone

    def _constants(self, channels: ChannelSet) -> tuple[dict[Layer, Tensor], Tensor]:
        """Return what constant channels hold where each layer reads them, and which channels are constant."""
        held: Tensor | float = 0.0
        constant = torch.ones_like(self._written(channels.writers[0]).constant)
        readings: dict[Layer, Tensor] = {}
        for event in channels.events:
            if isinstance(event, Read):
                assert isinstance(held, Tensor)
                readings[event.layer] = held
                continue
            for layer in event.layers:
                written = self._written(layer)
                held, constant = held + written.value, constant & written.constant
            held = torch.as_tensor(held).relu()
        return readings, constant

    def _merge(self, held: dict[Layer, Tensor], candidates: Tensor) -> Tensor:
        """Let one constant channel be read in place of the others, and return which need not be read any more."""
        if int(candidates.sum()) < 2:
            return torch.zeros_like(candidates)
        values = torch.stack(list(held.values()))  # (readers, channels), at least 0 because of ReLU
        carrier = int(torch.where(candidates, values.amin(0), -1).argmax())
        carried = candidates & ((values == 0) | (values[:, [carrier]] > 0)).all(0)
        carried[carrier] = False
        for layer, value in held.items():
            ratio = torch.where(carried & (value > 0), value / value[carrier], 0)
            weight = self._weight(layer)
            weight[:, carrier] += torch.einsum("oi...,i->o...", weight, ratio)
        return carried

    def _written(self, layer: Layer) -> _Written:
        """Return which outputs of a layer are constant, and their values; weights without influence are set to 0."""
        weight = self._weight(layer)
        value = self.tensors.get(f"{layer.name}.bias", weight.new_zeros(len(weight)))
        if layer.norm is None:
            return _Written(~_any_nonzero(weight), value)
        gamma, beta = self.tensors[f"{layer.norm}.weight"], self.tensors[f"{layer.norm}.bias"]
        mean, variance = self.tensors[f"{layer.norm}.running_mean"], self.tensors[f"{layer.norm}.running_var"]
        weight[gamma == 0] = 0
        normalised = (value - mean) / (variance + self.eps[layer.norm]).sqrt()
        return _Written(~_any_nonzero(weight), torch.where(gamma == 0, beta, gamma * normalised + beta))

    def _reads_away_from_borders(self, layer: Layer) -> Tensor:
        """Return for which inputs of a layer all weights that are not 0 stand where no padding is ever read."""
        weight = self._weight(layer)
        if layer.name not in self.padding:
            return torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
        outer, padding = weight.clone(), self.padding[layer.name]
        assert not isinstance(padding, str)
        if padding != (0, 0):
            outer[:, :, padding[0], padding[1]] = 0
        else:
            outer.zero_()
        return ~_any_nonzero(outer.transpose(0, 1))

    def _fold(self, layer: Layer, values: Tensor) -> None:
        """Add what constant inputs give to the outputs of a layer."""
        given = self._weight(layer).flatten(2).sum(2) if self._weight(layer).dim() > 2 else self._weight(layer)
        shift = given @ values
        if layer.norm is not None:
            self.tensors[f"{layer.norm}.running_mean"] -= shift
        else:
            self.tensors[f"{layer.name}.bias"] += shift

    def _weight(self, layer: Layer) -> Tensor:
        return self.tensors[f"{layer.name}.weight"]

    def _written_by(self, layer: Layer) -> list[str]:
        """Names of the tensors with an entry for every output of a layer and its BatchNorm."""
        owners = [layer.name] if layer.norm is None else [layer.name, layer.norm]
        names = [f"{owner}.{part}" for owner in owners for part in ("weight", "bias", "running_mean", "running_var")]
        return [name for name in names if name in self.tensors]


@dataclass(frozen=True, eq=False)
class _Written:
    """What a layer and its BatchNorm write: ``constant`` bool (channels,), and ``value`` where that is True."""

    constant: Tensor
    value: Tensor


def _any_nonzero(weight: Tensor) -> Tensor:
    return (weight.flatten(1) != 0).any(1)
