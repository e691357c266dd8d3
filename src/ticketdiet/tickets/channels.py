"""Which layers write a set of channels and which read it, for the networks of this package.

Channels can only be taken out of a network together: from every layer that writes them, and from every layer that reads
them. Additions of residual blocks tie the channels of several blocks into one set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.models.feedforward import VGG, LeNet300100
from ticketdiet.models.resnet import BasicBlock, Bottleneck, ResNet

SUPPORTED = "resnetN, lowres_resnet18, lowres_resnet50, vgg16 and lenet_300_100 of this package"


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, and the BatchNorm directly behind it.

    Attributes:
        name: Name of the layer's module.
        norm: Name of the BatchNorm's module, or None when nothing stands between the layer and what follows.
    """

    name: str
    norm: str | None = None


@dataclass(frozen=True)
class Write:
    """The outputs of ``layers`` are added to what the channels hold (0 at first), and ReLU is applied."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Read:
    """What the channels hold at this point is an input of ``layer``, unchanged or averaged over positions."""

    layer: Layer


Event = Write | Read


@dataclass(frozen=True)
class ChannelSet:
    """Channels that have to be removed together from all layers that write or read them.

    Attributes:
        events: Writing and reading, in the order in which the network computes.
    """

    events: tuple[Event, ...]

    @property
    def writers(self) -> tuple[Layer, ...]:
        """Layers that write the channels: one row of their weights each."""
        return tuple(layer for event in self.events if isinstance(event, Write) for layer in event.layers)

    @property
    def readers(self) -> tuple[Layer, ...]:
        """Layers that read the channels: one column of their weights each."""
        return tuple(event.layer for event in self.events if isinstance(event, Read))


def channel_sets(model: nn.Module) -> tuple[ChannelSet, ...]:
    """Return all sets of hidden channels of a network of this package; inputs and classes are none.

    Args:
        model: The network.

    Raises:
        UserError: For any other module.
    """
    if isinstance(model, ResNet):
        return tuple(_of_resnet(model))
    if isinstance(model, VGG):
        return tuple(_in_a_row([*_layers_of_vgg(model), Layer("fc")]))
    if isinstance(model, LeNet300100):
        return tuple(_in_a_row([Layer("fc1"), Layer("fc2"), Layer("fc3")]))
    raise UserError(
        f"The channels of a {type(model).__name__} are not known.",
        expected=f"one of the networks {SUPPORTED}",
        way_out="use the network as it is: its mask holds, and only the removal of channels is left out",
    )


def _in_a_row(layers: list[Layer]) -> Iterator[ChannelSet]:
    for writer, reader in pairwise(layers):
        yield ChannelSet((Write((writer,)), Read(reader)))


def _layers_of_vgg(model: VGG) -> Iterator[Layer]:
    for place, module in enumerate(model.features):
        if isinstance(module, nn.Conv2d):
            yield Layer(f"features.{place}", f"features.{place + 1}")


def _of_resnet(model: ResNet) -> Iterator[ChannelSet]:
    stream: list[Event] = [Write((Layer("conv", "bn"),))]
    for place, block in enumerate(model.blocks):
        assert isinstance(block, BasicBlock | Bottleneck)
        depth = 2 if isinstance(block, BasicBlock) else 3
        inner = [Layer(f"blocks.{place}.conv{n}", f"blocks.{place}.bn{n}") for n in range(1, depth + 1)]
        yield from _in_a_row(inner)
        stream.append(Read(inner[0]))
        if block.shortcut is None:
            stream.append(Write((inner[-1],)))
            continue
        shortcut = Layer(f"blocks.{place}.shortcut.0", f"blocks.{place}.shortcut.1")
        yield ChannelSet((*stream, Read(shortcut)))
        stream = [Write((inner[-1], shortcut))]
    yield ChannelSet((*stream, Read(Layer("fc"))))
