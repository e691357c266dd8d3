"""Measure what removing dead channels brings: parameters and time of a forward pass of ResNet-20 by density.

The masks come from a short search on digits (magnitude, half of the kept weights a level). Inputs are 32x32, on one
thread, and times are those of the processor, so that other processes disturb them less.
Run it with ``python benchmarks/compact_speed.py [steps of a level]``.
"""

from __future__ import annotations

import copy
import sys
import time

import torch
from torch import Tensor, nn

import machine
import ticketdiet as td

LEVELS, BATCH, REPEATS = 7, 64, 9


def main(steps: int = 100) -> None:
    """Search, compact every level from a density of 1/8 on, and print a table."""
    torch.set_num_threads(1)
    print(machine.in_words(1))
    inputs = torch.randn(BATCH, 1, 32, 32)
    print(
        f"{'density':>8} {'accuracy':>9} {'parameters':>11} {'left':>8} {'whole ms':>9} {'compact ms':>11} {'error':>9}"
    )
    for level in search(steps).levels[3:]:
        whole = td.build_model("resnet20", in_channels=1).eval()
        whole.load_state_dict(dict(level.weights))
        smaller = td.compact(copy.deepcopy(whole), level.mask)
        milliseconds = times([whole, smaller.module], inputs)
        with torch.no_grad():
            error = float((whole(inputs) - smaller.module(inputs)).abs().max())
        parameters = sum(parameter.numel() for parameter in whole.parameters())
        print(
            f"{level.density:8.4f} {level.accuracy:9.3f} {parameters:11,} {smaller.num_parameters:8,} "
            f"{milliseconds[0]:9.1f} {milliseconds[1]:11.1f} {error:9.1e}"
        )


def search(steps: int) -> td.TicketSearch:
    """Find masks by magnitude in a short search on digits."""
    images = td.load_images("digits")
    recipe = td.Recipe(steps=steps, batch_size=64, lr=0.1, crop_padding=1, flip=False, precision="float32")
    model = td.build_model("resnet20", in_channels=1)
    return td.find_ticket(
        model, images.train, images.test, recipe=recipe, pretrain_steps=10, levels=LEVELS, fraction=0.5
    )


def times(modules: list[nn.Module], inputs: Tensor) -> list[float]:
    """Return the shortest forward pass of each module in milliseconds; they take turns on the machine."""
    found: list[list[float]] = [[] for _ in modules]
    with torch.inference_mode():
        for _ in range(REPEATS):
            for module, seconds in zip(modules, found, strict=True):
                start = time.process_time()
                module(inputs)
                seconds.append(time.process_time() - start)
    return [1000 * min(seconds) for seconds in found]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
