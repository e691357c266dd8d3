"""A whole search of 20 levels by the sparse kernels, beside the same search by the stock kernels.

ResNet-20 at 32x32, a fifth of the weights removed per level, shortened trainings; the images are scikit-learn's digits,
enlarged, so that accuracies mean something and nothing is downloaded. Both searches run in a fresh process each, one
after the other; the ratio is of their whole times, evaluation and pruning included. The dense pre-training and level 0
are the same computation in both, so the masks of level 1 have to be equal::

    python benchmarks/search_speed.py --steps 40 --threads 2
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import torch

import machine
from ticketdiet.core.values import Images
from ticketdiet.data.images import load_images
from ticketdiet.models.build import build_model
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.tickets.search import Level, find_ticket
from ticketdiet.training.recipe import Recipe

GOAL = 2.0
LEVELS = 20
SHOWN = (0, 5, 10, 15, 20)


def enlarged(images: Images) -> Images:
    """Return 8x8 grey digits as 32x32 images of three channels."""
    pixels = images.pixels.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1).contiguous()
    return Images(pixels, images.labels, images.class_names, images.mean * 3, images.std * 3)


def digest(mask: dict[str, torch.Tensor]) -> str:
    """Return what tells a mask from all others."""
    return hashlib.sha256(b"".join(mask[name].numpy().tobytes() for name in sorted(mask))).hexdigest()


def search_here(options: argparse.Namespace) -> None:
    """Search once in this process, and print what came out as JSON."""
    tune_allocator()
    torch.set_num_threads(options.threads)
    splits = load_images("digits", limit=1024)
    recipe = Recipe(
        steps=options.steps + 10, batch_size=128, lr=0.05, crop_padding=4, flip=False, sparse_kernels=options.kernels
    )
    masks: list[str] = []
    times = [time.perf_counter()]

    def remember(level: Level) -> None:
        masks.append(digest(dict(level.mask)))
        times.append(time.perf_counter())

    model = build_model("resnet20", seed=options.seed)
    began = time.perf_counter()
    found = find_ticket(
        model,
        enlarged(splits.train),
        enlarged(splits.test),
        recipe=recipe,
        pretrain_steps=10,
        levels=options.levels,
        seed=options.seed,
        on_level=remember,
    )
    result = {
        "seconds": time.perf_counter() - began,
        "accuracies": [level.accuracy for level in found.levels],
        "densities": [level.density for level in found.levels],
        "masks": masks,
        "level_seconds": [after - before for before, after in pairwise(times)],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result))


def search_apart(options: argparse.Namespace, kernels: str, seed: int) -> dict[str, Any]:
    """Search in a fresh process."""
    command = [sys.executable, __file__, "--here", "--kernels", kernels, "--steps", str(options.steps)]
    command += ["--levels", str(options.levels), "--threads", str(options.threads), "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def compare(options: argparse.Namespace) -> None:
    """Search both ways for every seed; print a table and JSON."""
    print(machine.in_words(options.threads))
    found = {
        seed: {kernels: search_apart(options, kernels, seed) for kernels in ("auto", "off")}
        for seed in range(options.seed, options.seed + options.replicates)
    }
    ratios = [both["off"]["seconds"] / both["auto"]["seconds"] for both in found.values()]
    for ratio_of_all, (seed, both) in zip(ratios, found.items(), strict=True):
        auto, stock = both["auto"], both["off"]
        print(
            f"seed {seed}: {stock['seconds']:.0f} s by the stock kernels, {auto['seconds']:.0f} s by the sparse ones: "
            f"{ratio_of_all:.2f}x (goal {GOAL}x); peak memory {stock['megabytes']:.0f} and {auto['megabytes']:.0f} MB"
        )
        print(f"  masks of level 1 are {'equal' if auto['masks'][1] == stock['masks'][1] else 'DIFFERENT'}")
        for level in (level for level in SHOWN if level <= options.levels):
            density, sparse, dense = auto["densities"][level], auto["accuracies"][level], stock["accuracies"][level]
            ratio = stock["level_seconds"][level] / auto["level_seconds"][level]
            accuracies = f"test accuracy {sparse:.3f} sparse, {dense:.3f} stock"
            print(f"  level {level:>2}, density {density:.3f}: {ratio:.2f}x; {accuracies}")
    print(json.dumps({"machine": machine.facts(options.threads), "ratios": ratios, "searches": found}))


def main() -> None:
    """Compare, or with ``--here`` search once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="steps of every level")
    parser.add_argument("--levels", type=int, default=LEVELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replicates", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--here", action="store_true", help="search in this process")
    options = parser.parse_args()
    if options.here:
        search_here(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
