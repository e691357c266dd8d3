import pytest
import torch

from ticketdiet.kernels.calls import Calls
from ticketdiet.kernels.compiled import kernels


@pytest.fixture(scope="session")
def library(_own_cache):
    """The kernels, compiled once per session; what needs them is skipped where there is no compiler for them."""
    found = kernels()
    assert " failed: " not in found.reason, found.reason
    if found.library is None:
        pytest.skip(f"no sparse kernels here: {found.reason}")
    return found.library


@pytest.fixture
def calls(library):
    return Calls(library, 1)


def random_mask(shape, density, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density).to(torch.uint8)


@pytest.fixture
def make_mask():
    return random_mask


@pytest.fixture
def mask_of():
    """Makes a mask of one density for all weights of convolutions and linear layers."""

    def make(model, density, seed=0):
        named = [(name, p) for name, p in model.named_parameters() if p.dim() > 1]
        return {name: random_mask(p.shape, density, seed + number) for number, (name, p) in enumerate(named)}

    return make
