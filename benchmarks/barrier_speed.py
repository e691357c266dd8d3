"""Images per second of barrier evaluation against those of training: ResNet-20 on 32x32 colour images.

A barrier costs forward passes only, so it should run at 2.5 times the training step's rate or more. Random pixels; run
on an idle machine. Memory is shown for families of 3 and of 66 pairs: it must not grow with them::

    python benchmarks/barrier_speed.py --threads 2 --precision float32
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch

import machine
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.landscape.measurement import measure_barrier, measure_pairs
from ticketdiet.models.build import build_model
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.engine import Engine
from ticketdiet.training.recipe import Precision, Recipe

GOAL = 2.5


def random_images(count: int) -> Images:
    """Make ``count`` random 32x32 colour images of ten classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return Images(pixels, labels, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3)


def seconds(work: Callable[[], None], repeats: int) -> float:
    """Return median seconds of ``work`` after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def training_rate(images: Images, precision: Precision, repeats: int) -> float:
    """Return images per second of the engine's training step, batch 128, augmentation included."""
    recipe = Recipe(steps=1000, batch_size=128, lr=0.1, momentum=0.9, weight_decay=1e-4, precision=precision)
    engine = Engine(build_model("resnet20").to(memory_format=torch.channels_last).train(), recipe)
    batches = ImageBatches(images, recipe, RunSeeds.of(0, 0))

    def steps() -> None:
        for step in range(8):
            batch = batches.batch(step)
            _, loss = engine.forward(batch)
            engine.update(loss, 0.01, step)

    return 8 * recipe.batch_size / seconds(steps, repeats)


def barrier_rate(images: Images, precision: Precision, repeats: int) -> float:
    """Return images per second of a barrier; each image counts once at each of three points."""
    model = build_model("resnet20")
    a, b = (build_model("resnet20", seed=seed).state_dict() for seed in (1, 2))
    return (
        3 * len(images) / seconds(lambda: _discard(measure_barrier(model, a, b, images, precision=precision)), repeats)
    )


def peak_megabytes(images: Images, networks: int) -> tuple[int, float]:
    """Return the number of pairs among ``networks``, and the peak memory in MB after measuring them one by one."""
    model = build_model("resnet20")
    weights = {f"child{seed}": build_model("resnet20", seed=seed).state_dict() for seed in range(networks)}
    pairs = sum(1 for _ in measure_pairs(model, weights, images))
    return pairs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _discard(_: object) -> None:
    pass


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = random_images(options.images)
    train = training_rate(images, options.precision, options.repeats)
    barrier = barrier_rate(images, options.precision, options.repeats)
    print(machine.in_words())
    print(options.precision)
    print(f"training step   {train:8.0f} images/s")
    print(f"barrier         {barrier:8.0f} images/s   {barrier / train:.2f} x (goal {GOAL} x)")
    for networks in (3, 12):
        pairs, peak = peak_megabytes(images.take(torch.arange(min(500, len(images)))), networks)
        print(f"{pairs:3d} pairs       {peak:8.0f} MB at most so far")


if __name__ == "__main__":
    main()
