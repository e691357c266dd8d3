"""Reading ahead gives what reading gives, and reads each number once while they are asked for in order."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from ticketdiet.training.prefetch import READ_AHEAD, Prefetcher

CPU = torch.device("cpu")


def test_any_order_of_numbers_gives_what_reading_gives() -> None:
    ahead = Prefetcher(lambda number: torch.tensor(number), CPU)
    asked = [0, 1, 2, 9, 10, 3, 3, 4, 0]
    assert [int(ahead.get(number)) for number in asked] == asked


def test_numbers_in_order_are_read_once_and_none_beyond_the_stop() -> None:
    read: list[int] = []

    def count(number: int) -> Tensor:
        read.append(number)
        return torch.tensor(number)

    ahead = Prefetcher(count, CPU, stop=7)
    assert [int(ahead.get(number)) for number in range(7)] == list(range(7))
    assert read == list(range(7))


def test_the_next_numbers_are_read_while_the_caller_works() -> None:
    begun = {number: threading.Event() for number in range(1 + READ_AHEAD)}

    def read(number: int) -> Tensor:
        begun[number].set()
        return torch.tensor(number)

    Prefetcher(read, CPU, stop=1 + READ_AHEAD).get(0)
    assert all(event.wait(timeout=60) for event in begun.values())


def test_an_error_of_reading_reaches_the_caller_at_its_number() -> None:
    def read(number: int) -> Tensor:
        if number == 2:
            raise OSError("the disk is gone")
        return torch.tensor(number)

    ahead = Prefetcher(read, CPU)
    assert [int(ahead.get(0)), int(ahead.get(1))] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.get(2)
