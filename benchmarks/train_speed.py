"""Training steps of ResNet-20 on 32x32 images, batch 128: our engine beside the loop that everyone writes.

The plain loop is torchvision's transforms on PIL images in a ``DataLoader``, float32, ``torch.optim.SGD``. Ours is
``ticketdiet.train`` with its default precision, as ``ticketdiet run`` sets it up; once dense, and once with 5 % of the
weights of every convolution. Each is measured in a fresh process,
in turns, so that a busy machine slows both; the ratio is of the medians. Peak memory is of the whole process, torch and
images included. CIFAR-10 is used when it is found, random pixels of its shape otherwise::

    python benchmarks/train_speed.py --steps 60 --rounds 5
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

import machine
from ticketdiet.core.errors import TicketDietError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images, Mask
from ticketdiet.data.images import load_images
from ticketdiet.models.build import build_model
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.training.loop import train
from ticketdiet.training.observers import Capture, Observer
from ticketdiet.training.recipe import Recipe

GOAL_RATIO, GOAL_SPARSE, GOAL_GIGABYTES = 3.0, 4.0, 1.5
DENSITY = 0.05  # of the sparse engine
WARM_UP = 5
NEAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10-jpeg"


def training_images(source: str) -> Images:
    """Return the training images of ``source``, or as many random ones."""
    try:
        if source:
            return load_images(source).train
    except TicketDietError as error:
        print(f"{error}\nrandom pixels are used instead", file=sys.stderr)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (50_000,), generator=generator)
    return Images(pixels, labels, tuple("0123456789"), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


class Clock(Observer):
    """Remembers when the warm-up ended and when the last step did."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.times = steps, list[float]()

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Look at the time."""
        if step in self.steps:
            self.times.append(time.perf_counter())


def engine(options: argparse.Namespace) -> float:
    """Return seconds of our dense steps."""
    return _seconds(options, build_model("resnet20"), None)


def sparse(options: argparse.Namespace) -> float:
    """Return seconds of our steps under a mask."""
    model, generator = build_model("resnet20"), torch.Generator().manual_seed(0)
    convolutions = [(name, p) for name, p in model.named_parameters() if p.dim() == 4]
    return _seconds(
        options, model, {name: (torch.rand(p.shape, generator=generator) < DENSITY).float() for name, p in convolutions}
    )


def _seconds(options: argparse.Namespace, model: nn.Module, mask: Mask | None) -> float:
    tune_allocator()
    recipe = Recipe(steps=1000, batch_size=options.batch_size, precision=options.precision)
    clock = Clock(WARM_UP, WARM_UP + options.steps)
    images, stop = training_images(options.source), WARM_UP + options.steps
    train(model, images, recipe, seeds=RunSeeds.of(0, 0), mask=mask, stop_step=stop, observers=[clock])
    return clock.times[1] - clock.times[0]


class PicturesAndLabels(torch.utils.data.Dataset):
    """As torchvision's CIFAR-10: an array in memory, one PIL image per example, transforms one by one."""

    def __init__(self, images: Images) -> None:
        from torchvision import transforms

        self.pixels = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def plain(options: argparse.Namespace) -> float:
    """Return seconds of the plain loop's steps."""
    dataset = PicturesAndLabels(training_images(options.source))
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=options.batch_size, shuffle=True, drop_last=True, num_workers=options.loader_workers
    )
    model = build_model("resnet20").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion, started = nn.CrossEntropyLoss(), 0.0
    for step, (inputs, labels) in enumerate(itertools.islice(loader, WARM_UP + options.steps)):
        if step == WARM_UP:
            started = time.perf_counter()
        optimizer.zero_grad()
        criterion(model(inputs), labels).backward()
        optimizer.step()
    return time.perf_counter() - started


CONTESTANTS = {"engine": engine, "plain": plain, "sparse": sparse}


def measure_here(options: argparse.Namespace) -> None:
    """Measure one contestant in this process, and print what came out as JSON."""
    torch.set_num_threads(options.threads)
    seconds = CONTESTANTS[options.contestant](options)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = options.steps * options.batch_size / seconds
    print(json.dumps({"images_per_second": rate, "peak_gigabytes": kilobytes * 1024 / 1e9}))


def measure_apart(contestant: str, arguments: list[str], threads: int) -> dict[str, float]:
    """Measure one contestant in a fresh process."""
    command = [sys.executable, __file__, *arguments, "--contestant", contestant]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def compare(options: argparse.Namespace, arguments: list[str]) -> None:
    """Alternate the contestants, and print medians, ratio and all rounds."""
    training_images(options.source)  # decoded once, outside what is measured
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(options.rounds):
        for name, results in rounds.items():
            results.append(measure_apart(name, arguments, options.threads))
    rate = {name: statistics.median(r["images_per_second"] for r in results) for name, results in rounds.items()}
    peak = {name: max(r["peak_gigabytes"] for r in results) for name, results in rounds.items()}
    ratio, sparse_ratio = rate["engine"] / rate["plain"], rate["sparse"] / rate["plain"]
    where = options.source or "random pixels"
    print(machine.in_words(options.threads))
    print(f"ResNet-20, batch {options.batch_size}, {where}; the engine in {options.precision}")
    for name in CONTESTANTS:
        print(f"{name:<8}{rate[name]:8.0f} images/s   {peak[name]:5.2f} GB at most")
    print(f"engine over plain {ratio:.2f} (goal {GOAL_RATIO}), memory goal {GOAL_GIGABYTES} GB")
    print(f"at density {DENSITY} over plain {sparse_ratio:.2f} (goal {GOAL_SPARSE})")
    ratios = {"ratio": ratio, "sparse_ratio": sparse_ratio}
    found = {"images_per_second": rate, "peak_gigabytes": peak, **ratios, "rounds": rounds}
    print(json.dumps(found | {"machine": machine.facts(options.threads)}))


def main() -> None:
    """Compare, or with ``--contestant`` measure one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="timed steps per round, after a warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the engine")
    parser.add_argument("--loader-workers", type=int, default=2, help="processes of the plain loop's DataLoader")
    parser.add_argument("--source", default=f"parquet:{NEAR}" if NEAR.is_dir() else "", help="32x32 colour images")
    parser.add_argument("--contestant", choices=tuple(CONTESTANTS), help="measure only this one, in this process")
    options = parser.parse_args()
    if options.contestant:
        measure_here(options)
    else:
        compare(options, sys.argv[1:])


if __name__ == "__main__":
    main()
