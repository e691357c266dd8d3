"""How long a training step takes in each precision on this machine: the same network and batch, in turns.

Which one is faster depends on the CPU. One with bfloat16 arithmetic gains up to a factor of two; on one without,
PyTorch imitates it and takes 8 to 20 times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from ticketdiet.core.seeds import RunSeeds, torch_generator
from ticketdiet.core.values import Images
from ticketdiet.training.loop import train
from ticketdiet.training.observers import Capture, Observer
from ticketdiet.training.recipe import Precision, Recipe

Measure = Callable[[Precision, int], float]  # seconds of a training step of so many examples
PROBE = 2  # examples of the first steps, which say for how many examples there is time
ROUNDS = 3
STEPS_OF_A_MEASUREMENT = 3  # the first warms up
MOST_TIMES_AS_LONG = {True: 4, False: 30, None: 30}  # bfloat16 over float32, by whether the CPU computes in bfloat16


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a training step, per example of its batch, in each precision."""

    float32: float
    bfloat16: float

    def of(self, precision: Precision) -> float:
        """Seconds per example in ``precision``."""
        return self.float32 if precision == "float32" else self.bfloat16


def time_precisions(
    measure: Measure,
    batch_size: int,
    *,
    computes_bfloat16: bool | None,
    budget: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> StepTimes | None:
    """Time training steps in both precisions, in turns, and take the fastest of each.

    Args:
        measure: Takes steps in a precision with a batch of so many examples, and returns the seconds of one.
        batch_size: Examples per batch in the training that it is about; fewer are used where time is short.
        computes_bfloat16: Whether the CPU computes in bfloat16 itself, None when unknown.
        budget: Seconds for all of it, about.
        clock: Seconds since any moment.

    Returns:
        The times; None when steps in bfloat16 would take more than twice the budget.
    """
    begun, size = clock(), min(PROBE, batch_size)
    found: dict[Precision, float] = {"float32": measure("float32", size) / size}
    steps = STEPS_OF_A_MEASUREMENT * size
    if steps * found["float32"] * MOST_TIMES_AS_LONG[computes_bfloat16] > 2 * budget:
        return None
    found["bfloat16"] = measure("bfloat16", size) / size
    per_round = STEPS_OF_A_MEASUREMENT * sum(found.values())
    larger = min(batch_size, int((budget - (clock() - begun)) / (ROUNDS * per_round)))
    if larger > size:  # what a small batch took says little about a large one
        size, found = larger, dict.fromkeys(found, float("inf"))
    for _ in range(ROUNDS):
        for precision, before in list(found.items()):
            found[precision] = min(before, measure(precision, size) / size)
        if clock() - begun > budget:
            break
    return StepTimes(**found)


def step_timer(make_model: Callable[[], nn.Module], recipe: Recipe, shape: tuple[int, ...], classes: int) -> Measure:
    """Return what measures training steps of a network on random images, by the loop that trains it.

    Args:
        make_model: Makes the network, float32, on the CPU.
        recipe: How it is trained; precision and batch size are those asked for at a measurement.
        shape: Of one image: channels, height, width.
        classes: Number of classes.

    Returns:
        From a precision and a batch size to seconds per step, the fastest after the first.
    """
    model, seeds, generator = make_model(), RunSeeds.of(0, 0), torch_generator(0, "precision")
    # A rate this small keeps the loss finite, however long it is measured.
    still = {"steps": STEPS_OF_A_MEASUREMENT, "lr": 1e-12, "schedule": "constant", "warmup_steps": 0}

    def measure(precision: Precision, size: int) -> float:
        pixels = torch.randint(0, 256, (size, *shape), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, classes, (size,), generator=generator)
        grey = (0.5,) * shape[0]
        images = Images(pixels, labels, tuple(map(str, range(classes))), grey, grey)
        chosen, clock = recipe.model_copy(update={**still, "precision": precision, "batch_size": size}), _Clock()
        train(model, images, chosen, seeds=seeds, observers=[clock])
        return min(end - begin for begin, end in pairwise(clock.times[1:]))

    return measure


class _Clock(Observer):
    """Remembers when each step began, and when the last one ended."""

    def __init__(self) -> None:
        self.times = list[float]()

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Look at the time."""
        self.times.append(time.perf_counter())
