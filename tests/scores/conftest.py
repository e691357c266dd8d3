"""A small network, images, and what several tests of scores compute by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.values import Images, Scores
from ticketdiet.training.batches import prepare
from ticketdiet.training.recipe import Recipe

SNAPSHOTS = ("el2n", "grand_last", "prototype", "loss", "entropy", "margin", "confidence")


class SmallNet(nn.Module):
    """Convolution, BatchNorm, a residual block and a linear layer, with the in-place operations of real networks."""

    def __init__(self, classes: int = 4, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 3, stride=2, padding=1, bias=True)
        self.shortcut = nn.Conv2d(6, 6, 1, stride=2, bias=False)
        self.fc = nn.Linear(6, classes, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu_(self.bn(self.conv(x)))
        out = torch.relu_(self.inner(out) + self.shortcut(out))
        logits: torch.Tensor = self.fc(out.mean((2, 3)))
        return logits


def make_small_net(seed: int) -> SmallNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed % (1 << 31))
        net = SmallNet()
        for buffer in (net.bn.running_mean, net.bn.running_var):
            assert buffer is not None
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return net


@pytest.fixture
def net() -> SmallNet:
    return make_small_net(0)


@pytest.fixture
def images() -> Images:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 96)
    pixels = generator.integers(0, 100, (96, 1, 8, 8)) + 30 * labels[:, None, None, None]
    return Images(
        torch.from_numpy(pixels.astype(np.uint8)),
        torch.from_numpy(labels),
        ("a", "b", "c", "d"),
        mean=(0.4,),
        std=(0.2,),
    )


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(steps=20, batch_size=16, lr=0.05, crop_padding=1, precision="float32")


def prepared(images: Images) -> torch.Tensor:
    return prepare(images.pixels, images)


def probabilities_of(net: nn.Module, images: Images) -> np.ndarray:
    """Softmax in numpy of the network's logits in eval mode, float64 (n, classes)."""
    net.eval()
    with torch.no_grad():
        logits = net(prepared(images)).double().numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def noisy_scores(models: int, noise: float) -> Scores:
    """Scores of 400 examples by networks that differ by Gaussian noise."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=400)
    return Scores((truth + noise * generator.normal(size=(models, 400))).astype(np.float32), "el2n")
