import functools

import pytest


@pytest.fixture
def make_model(small_network):
    """54 + 32 prunable weights."""
    return functools.partial(small_network, width=2)
