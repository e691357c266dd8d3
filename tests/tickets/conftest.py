import pytest
import torch
from torch import nn


@pytest.fixture
def make_model():
    """A convolution, BatchNorm and a linear layer: 54 + 32 prunable weights."""

    def make(seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(3, 2, 3, padding=1, bias=False),
                nn.BatchNorm2d(2),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(8, 4),
            )

    return make
