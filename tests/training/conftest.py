import functools

import pytest
import torch

from ticketdiet.core.values import Images


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (40,), generator=generator)
    return Images(pixels, labels, tuple("abcd"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture
def make_model(small_network):
    return functools.partial(small_network, width=6)
