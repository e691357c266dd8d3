import functools

import pytest

from ticketdiet.tickets.masks import dense_mask
from ticketdiet.tickets.pruning import prune


@pytest.fixture
def make_model(small_network):
    """54 + 32 prunable weights."""
    return functools.partial(small_network, width=2)


@pytest.fixture
def ticket(make_model):
    """Weights at a point, trained weights of a level, and the mask of the next."""
    point, trained = make_model(0).state_dict(), make_model(1).state_dict()
    return point, trained, prune(trained, dense_mask(make_model()), 0.6)
