"""What every test stands on: a cache of its own session, one thread a process, figures without a display."""

import os

# Before torch and matplotlib are first imported, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import pytest
import torch

# A busy machine is no failure, and what passes here passes everywhere.
hypothesis.settings.register_profile("ticketdiet", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ticketdiet")

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep decoded images of the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TICKETDIET_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TICKETDIET_STORE", raising=False)
        yield
