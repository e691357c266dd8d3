"""Several processes, each with a device of its own, that do one training or one evaluation together.

Every process (a *rank*) goes through the same steps on the same inputs. Where the work can be shared, each rank does
its part, and the parts are put together before anything else happens:

- a training step: each rank runs its slice of the batch forward and backward. The logits of the whole batch come
  together before the loss, and the gradient is summed over ranks in one operation on the engine's flat tensor;
- an evaluation: each rank does some of the chunks of images that one device would do, so that the numbers are the same.

Everything else is done by all ranks alike, so that they never differ. Outside of ``joined`` there is one rank, and none
of this has any effect. How many ranks there are changes the order of sums, as threads do, and what dropout and other
random layers draw, because each rank draws for its own slice.

A run starts its ranks by itself (``--devices-per-stage``). A script of your own does it under torchrun, on one machine
or several::

    ranks = Ranks.of_torchrun()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    with joined(ranks, "env://", device):
        trained = train(model.to(device), images, recipe, seeds=seeds)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ticketdiet.core.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes that work together.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of_torchrun(cls) -> Ranks:
        """Return the rank that torchrun gave this process in its environment; ``ALONE`` outside of torchrun."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that stores and reports."""
        return self.rank == 0

    def own_slice(self, batch: Tensor) -> Tensor:
        """Return this rank's slice of the first dimension, a view; the slices are equally long.

        Raises:
            UserError: When the batch is no multiple of the number of ranks.
        """
        if len(batch) % self.count:
            raise UserError(
                f"A batch of {len(batch)} examples cannot be shared evenly by {self.count} devices.",
                expected="a training.batch_size that is a multiple of the devices per stage",
                way_out="give another number of devices per stage, or another batch size",
            )
        return batch if self.count == 1 else batch.chunk(self.count)[self.rank]

    def own_part(self, items: Sequence[T]) -> Sequence[T]:
        """Return this rank's part of ``items``: consecutive, nearly equally many, in the order of the ranks."""
        bounds = [number * len(items) // self.count for number in (self.rank, self.rank + 1)]
        return items[slice(*bounds)]

    def join(self, own: Tensor) -> Tensor:
        """Return the slices of all ranks, one after another; gradients flow back into this rank's own.

        Args:
            own: (slice, ...), of the same shape and dtype on every rank.

        Returns:
            (slice * count, ...), equal on all ranks.
        """
        if self.count == 1:
            return own
        joined: Tensor = _Join.apply(own, self)
        return joined

    def gather(self, own: Tensor) -> list[Tensor]:
        """Return the tensor ``own`` of each rank, which has one shape and dtype on all of them; without gradients."""
        own = own.detach().contiguous()
        if self.count == 1:
            return [own]
        parts = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(parts, own)
        return parts

    def collect(self, own: Sequence[Tensor]) -> Tensor:
        """Return the rows of all ranks, in their order; without gradients.

        Args:
            own: Parts of (rows, ...) on the CPU that this rank has, possibly none.

        Returns:
            (all rows, ...), equal on all ranks.
        """
        if self.count == 1:
            return torch.cat(list(own))
        mine = torch.cat(list(own)) if own else None
        shapes = self._everyones(None if mine is None else (tuple(mine.shape), mine.dtype))
        known = [found for found in shapes if found is not None]
        most, (shape, dtype) = max(found[0][0] for found in known), known[0]
        padded = torch.zeros(most, *shape[1:], dtype=dtype)
        if mine is not None:
            padded[: len(mine)] = mine
        parts = self.gather(padded)
        return torch.cat([part[: found[0][0]] for part, found in zip(parts, shapes, strict=True) if found is not None])

    def add_up(self, tensor: Tensor) -> None:
        """Replace ``tensor``, in place, by its sum over ranks, which is equal to the bit on all of them."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def first_says(self, value: T) -> T:
        """Return the ``value`` that rank 0 gives; all ranks wait for it."""
        return self._everyones(value)[0] if self.count > 1 else value

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.add_up(torch.zeros(1))

    def _everyones(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


class _Join(torch.autograd.Function):
    """Puts slices together. All ranks compute the same loss of the whole, so each keeps its slice of the gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return torch.cat(ranks.gather(own))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.own_slice(gradients[0]), None


ALONE = Ranks()
_present: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


def present_ranks() -> Ranks:
    """Return the ranks that work together here: ``ALONE`` outside of ``joined``."""
    return _present.get()


@contextmanager
def joined(
    ranks: Ranks, rendezvous: str, device: torch.device, *, patience: timedelta = timedelta(minutes=30)
) -> Iterator[Ranks]:
    """Let this process be one of several that work together, for as long as the block lasts.

    Every process of the group enters with its own rank, and all of them then make the same calls. A process that uses
    ``torch.distributed`` for something of its own cannot enter.

    Args:
        ranks: Which of how many this process is.
        rendezvous: Where the processes find each other, as ``init_method`` of ``torch.distributed``:
            ``file:///some/new/file``, ``tcp://host:port``, or ``env://`` under torchrun.
        device: Device of this process. CUDA devices talk by NCCL, everything else by gloo.
        patience: How long a rank waits for another before it gives up.

    Yields:
        ``ranks``.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=rendezvous, rank=ranks.rank, world_size=ranks.count, timeout=patience)
    token = _present.set(ranks)
    try:
        yield ranks
    finally:
        _present.reset(token)
        dist.destroy_process_group()
