"""What a network draws at random while it trains (dropout, stochastic depth): a pure function of the step.

PyTorch's layers draw from a global generator, whose state depends on all that ran before. Then a training that is
repeated gives other numbers, and one that is resumed goes on with other draws. Here every forward pass of such a
network begins at a seed of its own, and the global generators are left as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ticketdiet.core.seeds import RunSeeds, derive_seed
from ticketdiet.training.distributed import present_ranks


class StepDraws:
    """Seeds the forward passes of a training, as long as the network draws anything.

    Whether it does is seen at the first step. A network without random layers is left alone from then on, so that it
    costs nothing. Ranks that share a batch draw independently of each other, so that a training by several has other
    draws than one by one.

    Args:
        seeds: Seeds of the run; draws are derived from that of the data order, so that children of a point that differ
            in it differ in them, too.
        device: Where the network is.
    """

    def __init__(self, seeds: RunSeeds, device: torch.device) -> None:
        self._seed, self._device = seeds.order, device
        rank = present_ranks().rank
        self._of_rank = (rank,) if rank else ()
        self._draws: bool | None = None

    @contextmanager
    def of(self, step: int) -> Iterator[None]:
        """Let what is drawn inside the block be that of ``step``."""
        if self._draws is False:
            yield
            return
        cuda = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            self._begin(derive_seed(self._seed, "draws", step, *self._of_rank))
            before = self._states()
            yield
            if self._draws is None:
                self._draws = not all(map(torch.equal, before, self._states()))

    def _begin(self, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":  # this device alone: others belong to other trainings
            with torch.cuda.device(self._device):
                torch.cuda.manual_seed(seed)

    def _states(self) -> list[torch.Tensor]:
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else states
