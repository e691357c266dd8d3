"""Training steps on one GPU: replayed as CUDA graphs, started from Python, and the loop that everyone writes.

The plain loop is ``torch.optim.SGD`` over images that are on the device already, augmented as ours.
All three see the same network and batch size, in turns in one process; the fastest of several rounds counts::

    python benchmarks/cuda_speed.py --steps 300 --rounds 3
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

import machine
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.evaluation import autocast
from ticketdiet.training.loop import train
from ticketdiet.training.observers import Capture, Observer
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.replay import COMPARED, SWITCH, WARM_UP

BATCH = 128
CASES = (
    ("ResNet-14 of 8 channels, 16x16", "resnet14", 8, 16),
    ("ResNet-20, 32x32", "resnet20", 16, 32),
    ("ResNet-32, 32x32", "resnet32", 16, 32),
)
SETTLED = WARM_UP + COMPARED + 5  # steps before the clock starts


class Clock(Observer):
    """Looks at the time at two steps, when the device has done all before them."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.times = steps, list[float]()

    def before_step(self, step: int, model: torch.nn.Module, capture: Capture) -> None:
        """Wait for the device and look at the time."""
        if step in self.steps:
            torch.cuda.synchronize()
            self.times.append(time.perf_counter())


def some_images(size: int) -> Images:
    """Return 20 000 random images on the GPU."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20_000, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (20_000,), generator=generator)
    images = Images(pixels, labels, tuple("0123456789"), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    return images.to(torch.device("cuda"))


def ours(make: Callable[[], torch.nn.Module], images: Images, recipe: Recipe, switch: str) -> float:
    """Return the seconds of a step of ``train``."""
    os.environ[SWITCH] = switch
    clock = Clock(SETTLED, recipe.steps)
    train(make().cuda(), images, recipe, seeds=RunSeeds.of(0, 0), observers=[clock])
    return (clock.times[1] - clock.times[0]) / (recipe.steps - SETTLED)


def plain(make: Callable[[], torch.nn.Module], images: Images, recipe: Recipe) -> float:
    """Return the seconds of a step of a loop without any of this package but its batches."""
    model, batches = make().cuda().train(), ImageBatches(images, recipe, RunSeeds.of(0, 0))
    optimiser = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=1e-4)
    begin = 0.0
    for step in range(recipe.steps):
        if step == SETTLED:
            torch.cuda.synchronize()
            begin = time.perf_counter()
        batch = batches.batch(step)
        with autocast(torch.device("cuda"), recipe.precision):
            loss = F.cross_entropy(model(batch.inputs).float(), batch.labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / (recipe.steps - SETTLED)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device here, and this benchmark is of nothing else.")
    print(machine.in_words())
    print(torch.cuda.get_device_name())
    print(f"{'network':34} {'precision':9} {'plain':>9} {'started':>9} {'replayed':>9}  (ms a step of {BATCH} images)")
    for name, kind, width, size in CASES:
        images = some_images(size)
        for precision in ("float32", "bfloat16"):
            recipe = Recipe(steps=options.steps, batch_size=BATCH, lr=0.01, crop_padding=2, precision=precision)

            def make(kind: str = kind, width: int = width) -> torch.nn.Module:
                return build_model(kind, width=width)

            found = {"plain": [], "started": [], "replayed": []}  # type: dict[str, list[float]]
            for _ in range(options.rounds):
                found["plain"].append(plain(make, images, recipe))
                found["started"].append(ours(make, images, recipe, "off"))
                found["replayed"].append(ours(make, images, recipe, "auto"))
            times = " ".join(f"{min(seconds) * 1000:9.3f}" for seconds in found.values())
            print(f"{name:34} {precision:9} {times}", flush=True)


if __name__ == "__main__":
    main()
