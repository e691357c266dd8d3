"""Residual networks for small images: the CIFAR family of depth 6n+2 and the low-resolution ResNet-18 and ResNet-50.

Shortcuts are option B of He et al. (arXiv 1512.03385, section 3.3): where the shape changes, a 1x1 convolution followed
by BatchNorm; the published runs of Paul et al. (arXiv 2206.01278) use the same. ResNet-20 at 10 classes has 272 474
parameters this way, ResNet-56 has 855 770. Option A (zero-padded identity, no parameters) would have 2 752 fewer:
269 722 and 853 018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CIFAR_WIDTH = 16
MOST_CIFAR_LAYERS = 1202
LOW_RESOLUTION_WIDTH = 64


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class _Shortcut(nn.Sequential):
    """Option B: a 1x1 convolution and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity or a projection."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        changes = stride != 1 or inputs != width
        self.shortcut = _Shortcut(inputs, width, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, width, h / stride, w / stride)."""
        out = torch.relu_(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.shortcut is None else self.shortcut(x)
        return torch.relu_(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the last widens by 4 and the 3x3 one carries the stride."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = _Shortcut(inputs, outputs, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, 4 * width, h / stride, w / stride)."""
        out = torch.relu_(self.bn1(self.conv1(x)))
        out = torch.relu_(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.shortcut is None else self.shortcut(x)
        return torch.relu_(out)


class ResNet(nn.Module):
    """3x3 stem, stages that double the width and halve the side, global average, one linear layer.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        depths: Number of blocks per stage.
        width: Number of channels of the first stage.
        num_classes: Number of outputs.
        in_channels: Number of channels of the images, which may have any size.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        width: int,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, width, 3)
        self.bn = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        inputs = width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, width << stage, stride))
                inputs = (width << stage) * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, in_channels, h, w) to logits (n, num_classes)."""
        out = self.blocks(torch.relu_(self.bn(self.conv(x))))
        logits: Tensor = self.fc(out.mean((2, 3)))
        return logits


def is_cifar_depth(depth: int) -> bool:
    """Whether a CIFAR ResNet of ``depth`` exists: 8, 14, 20, ..., 6n+2, up to the deepest that was published."""
    return 8 <= depth <= MOST_CIFAR_LAYERS and depth % 6 == 2


def cifar_resnet(depth: int, *, num_classes: int = 10, in_channels: int = 3, width: int | None = None) -> ResNet:
    """Make the CIFAR ResNet of ``depth`` = 6n+2: three stages of n basic blocks, 16, 32 and 64 channels by default."""
    assert is_cifar_depth(depth)
    depths = ((depth - 2) // 6,) * 3
    return ResNet(BasicBlock, depths, width=width or CIFAR_WIDTH, num_classes=num_classes, in_channels=in_channels)


def lowres_resnet18(*, num_classes: int = 10, in_channels: int = 3, width: int | None = None) -> ResNet:
    """Make the ImageNet ResNet-18 with a 3x3 stem of stride 1 and no max-pool (11 173 962 parameters at 10 classes)."""
    width = width or LOW_RESOLUTION_WIDTH
    return ResNet(BasicBlock, (2, 2, 2, 2), width=width, num_classes=num_classes, in_channels=in_channels)


def lowres_resnet50(*, num_classes: int = 10, in_channels: int = 3, width: int | None = None) -> ResNet:
    """Make the ImageNet ResNet-50 with a 3x3 stem of stride 1 and no max-pool (23 520 842 parameters at 10 classes)."""
    width = width or LOW_RESOLUTION_WIDTH
    return ResNet(Bottleneck, (3, 4, 6, 3), width=width, num_classes=num_classes, in_channels=in_channels)
