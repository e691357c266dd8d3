"""Reading ahead: what the next steps need is read by a thread while the device works on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

READ_AHEAD = 3  # steps; the reads of one step are short, and one slow read must not stop the device


class Prefetcher:
    """Gives ``read(number)``, having read the numbers that follow before they are asked for.

    Args:
        read: A function of the number alone, called in another thread; returns a tensor on the CPU.
        device: Where the tensors are wanted. For CUDA they are put into pinned memory, from which they are copied while
            the device computes.
        stop: No number from here on is read ahead; None for no end.
    """

    def __init__(self, read: Callable[[int], Tensor], device: torch.device, stop: int | None = None) -> None:
        self._read = read
        self._device = device
        self._stop = stop
        self._pending: dict[int, Future[Tensor]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ticketdiet-images")

    def get(self, number: int) -> Tensor:
        """Return ``read(number)`` on the device, and have the next numbers read."""
        found = self._pending.pop(number, None)
        wanted = [
            ahead for ahead in range(number + 1, number + 1 + READ_AHEAD) if self._stop is None or ahead < self._stop
        ]
        for skipped in self._pending.keys() - set(wanted):
            self._pending.pop(skipped).cancel()
        if found is None:
            found = self._submit(number)
        for ahead in wanted:
            if ahead not in self._pending:
                self._pending[ahead] = self._submit(ahead)
        return found.result().to(self._device, non_blocking=True)

    def _submit(self, number: int) -> Future[Tensor]:
        return self._thread.submit(_fetch, self._read, number, self._device.type == "cuda")


def _fetch(read: Callable[[int], Tensor], number: int, pinned: bool) -> Tensor:
    found = read(number)
    return found.pin_memory() if pinned else found
