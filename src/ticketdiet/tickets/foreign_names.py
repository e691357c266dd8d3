"""How open_lth and lth_diet name the tensors of their networks, and which network of this package each is.

Learned from their model definitions: ``models/cifar_resnet.py``, ``cifar_vgg.py`` and ``mnist_lenet.py`` of
facebookresearch/open_lth, ``lth_diet/models`` of mansheej/lth_diet, whose ResNet-20 and -56 are those of Composer and
whose ResNet-18 and -50 are those of torchvision with a 3x3 stem.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ticketdiet.core.errors import DataError
from ticketdiet.models.feedforward import VGG16_STAGES
from ticketdiet.models.resnet import is_cifar_depth
from ticketdiet.tickets.portable import NetworkFacts

VGG_IMAGE_SIZE = 32  # theirs has a fixed pooling before the last layer
_TORCHVISION_STAGES = {"lowres_resnet18": (2, 2, 2, 2), "lowres_resnet50": (3, 4, 6, 3)}


@dataclass(frozen=True)
class ForeignLayout:
    """A network of theirs as one of this package.

    Attributes:
        network: Which network of this package.
        names: Their name of every tensor that is taken over -> ours.
        prunable: Our names of the weights that their masks cover.
        shifts: Their name of a convolution's bias -> our name of the running mean that it is subtracted from.
    """

    network: NetworkFacts
    names: Mapping[str, str]
    prunable: tuple[str, ...]
    shifts: Mapping[str, str] = field(default_factory=dict)


def foreign_layout(weights: Mapping[str, Tensor], image_size: int, source: str) -> ForeignLayout:
    """Tell from names and shapes which network it is.

    Args:
        weights: Their ``state_dict``, without what wraps its names.
        image_size: Height and width of the images, where the network takes any.
        source: Name of the file, for messages.

    Returns:
        The network of this package, and how its tensors are called there.

    Raises:
        DataError: When it is none that this package has.
    """
    error = _unknown(source, f"its tensors are {', '.join(sorted(weights)[:4])}, ...")
    for first, read in _FAMILIES.items():
        if first in weights:
            try:
                return read(weights, image_size, source)
            except (KeyError, IndexError) as missing:
                error = _unknown(source, f"it lacks {missing}, or that has another shape")
    raise error


def _cifar_resnet(weights: Mapping[str, Tensor], image_size: int, source: str) -> ForeignLayout:
    """Theirs has our names."""
    blocks = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    depth = 2 * blocks + 2
    if not is_cifar_depth(depth):
        raise _unknown(source, f"it has {blocks} blocks")
    stem, last = weights["conv.weight"], weights["fc.weight"]
    network = NetworkFacts(
        name=f"resnet{depth}",
        num_classes=len(last),
        in_channels=stem.shape[1],
        image_size=image_size,
        width=len(stem),
    )
    return _layout(weights, network, {name: name for name in weights})


def _lowres_resnet(weights: Mapping[str, Tensor], image_size: int, source: str) -> ForeignLayout:
    """Theirs is torchvision's: stages of blocks, and ``downsample`` for the shortcut."""
    name = "lowres_resnet50" if "layer1.0.conv3.weight" in weights else "lowres_resnet18"
    depths, stem = _TORCHVISION_STAGES[name], weights["conv1.weight"]
    found = tuple(len({key.split(".")[1] for key in weights if key.startswith(f"layer{n}.")}) for n in range(1, 5))
    if found != depths or stem.shape[2:] != (3, 3):
        raise _unknown(source, f"it has stages of {found} blocks and a stem of {stem.shape[2]}x{stem.shape[3]}")
    names = {}
    for key in weights:
        parts = key.split(".")
        if parts[0].startswith("layer"):
            block = sum(depths[: int(parts[0].removeprefix("layer")) - 1]) + int(parts[1])
            names[key] = ".".join(("blocks", str(block), *parts[2:])).replace(".downsample.", ".shortcut.")
        else:
            names[key] = re.sub(r"^(conv|bn)1\.", r"\1.", key)
    network = NetworkFacts(
        name=name,
        num_classes=len(weights["fc.weight"]),
        in_channels=stem.shape[1],
        image_size=image_size,
        width=len(stem),
    )
    return _layout(weights, network, names)


def _vgg(weights: Mapping[str, Tensor], _image_size: int, source: str) -> ForeignLayout:
    """Theirs has modules of a convolution with bias and a BatchNorm; ours has them, and ReLU, one after another."""
    places = sorted({int(name.split(".")[1]) for name in weights if name.startswith("layers.")})
    ours = _places_in_vgg16()
    if len(places) != len(ours):
        raise _unknown(source, f"it is a VGG of {len(places)} convolutions")
    names, shifts = {"fc.weight": "fc.weight", "fc.bias": "fc.bias"}, {}
    for their, our in zip(places, ours, strict=True):
        names[f"layers.{their}.conv.weight"] = f"features.{our}.weight"
        shifts[f"layers.{their}.conv.bias"] = f"features.{our + 1}.running_mean"
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            names[f"layers.{their}.bn.{part}"] = f"features.{our + 1}.{part}"
    stem = weights[f"layers.{places[0]}.conv.weight"]
    network = NetworkFacts(
        name="vgg16",
        num_classes=len(weights["fc.weight"]),
        in_channels=stem.shape[1],
        image_size=VGG_IMAGE_SIZE,
        width=len(stem),
    )
    return _layout(weights, network, names, {name: target for name, target in shifts.items() if name in weights})


def _places_in_vgg16() -> list[int]:
    """Where our VGG-16 for images of 32 pixels has its convolutions: each is followed by BatchNorm and ReLU."""
    places, next_place = [], 0
    for stage, (_, convolutions) in enumerate(VGG16_STAGES):
        next_place += stage > 0  # the max-pool
        places += [next_place + 3 * number for number in range(convolutions)]
        next_place += 3 * convolutions
    return places


def _lenet(weights: Mapping[str, Tensor], _image_size: int, source: str) -> ForeignLayout:
    """Theirs is for images of one channel."""
    hidden = [weights[name] for name in ("fc_layers.0.weight", "fc_layers.1.weight") if name in weights]
    side = math.isqrt(hidden[0].shape[1])
    sizes = tuple(len(one) for one in hidden)
    if "fc_layers.2.weight" in weights or len(sizes) != 2 or sizes[1] != max(1, sizes[0] // 3):
        raise _unknown(source, f"it is a LeNet whose first hidden layers have {sizes} units")
    if side * side != hidden[0].shape[1]:
        raise _unknown(source, f"it is a LeNet for inputs of {hidden[0].shape[1]} numbers")
    layers = {"fc_layers.0": "fc1", "fc_layers.1": "fc2", "fc": "fc3"}
    names = {f"{their}.{part}": f"{our}.{part}" for their, our in layers.items() for part in ("weight", "bias")}
    network = NetworkFacts(
        name="lenet_300_100",
        num_classes=len(weights["fc.weight"]),
        in_channels=1,
        image_size=side,
        width=sizes[0],
    )
    return _layout(weights, network, names)


def _layout(
    weights: Mapping[str, Tensor],
    network: NetworkFacts,
    names: Mapping[str, str],
    shifts: Mapping[str, str] | None = None,
) -> ForeignLayout:
    prunable = tuple(names[name] for name, value in weights.items() if name in names and value.dim() > 1)
    return ForeignLayout(network, names, prunable, shifts or {})


def _unknown(source: str, what: str) -> DataError:
    return DataError(
        f"The network in {source} is none of this package: {what}.",
        expected="a CIFAR ResNet, VGG-16 or LeNet-300-100 of theirs, or a ResNet-18 or -50 with a 3x3 stem",
        way_out="for another network, load its state_dict with torch.load(path, weights_only=True)",
    )


# The name of a tensor that only one family has -> how its names and shapes are read.
_FAMILIES: dict[str, Callable[[Mapping[str, Tensor], int, str], ForeignLayout]] = {
    "blocks.0.conv1.weight": _cifar_resnet,
    "layer1.0.conv1.weight": _lowres_resnet,
    "layers.0.conv.weight": _vgg,
    "fc_layers.0.weight": _lenet,
}
