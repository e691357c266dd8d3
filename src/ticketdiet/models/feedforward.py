"""Networks without shortcuts: VGG-16 for small images and LeNet-300-100 (Frankle and Carbin, arXiv 1803.03635)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VGG16_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # (multiple of the width, convolutions)


class VGG(nn.Module):
    """VGG-16 with BatchNorm: 13 convolutions in five stages, global average, one linear layer.

    Convolutions have no bias, because BatchNorm follows each. A 2x2 max-pool separates two stages while the side is
    above one pixel, so that images under 16 pixels work too. There are 14 724 042 parameters with 10 classes and 3
    channels.

    Args:
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        image_size: Height and width of the images in pixels.
        width: Number of channels of the first stage; 64 by default.
    """

    def __init__(
        self, *, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, width: int | None = None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side = in_channels, image_size
        for stage, (multiple, convolutions) in enumerate(VGG16_STAGES):
            if stage > 0 and side > 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            for _ in range(convolutions):
                outputs = multiple * (width or 64)
                layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
                layers.append(nn.ReLU(inplace=True))
                channels = outputs
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, in_channels, image_size, image_size) to logits (n, num_classes)."""
        logits: Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


class LeNet300100(nn.Module):
    """Fully connected network with hidden layers of 300 and 100 units.

    Args:
        num_classes: Number of outputs.
        in_channels: Number of channels of the images.
        image_size: Height and width of the images in pixels.
        width: Number of units of the first hidden layer, 300 by default; the second has a third of it.
    """

    def __init__(
        self, *, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, width: int | None = None
    ) -> None:
        super().__init__()
        first = width or 300
        second = max(1, first // 3)
        self.fc1 = nn.Linear(in_channels * image_size * image_size, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, in_channels, image_size, image_size) to logits (n, num_classes)."""
        out = torch.relu_(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(torch.relu_(self.fc2(out)))
        return logits
