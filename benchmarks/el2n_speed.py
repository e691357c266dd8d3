"""EL2N of a given network beside its bare forward pass: scoring should cost no more than that.

    python benchmarks/el2n_speed.py [--model lowres_resnet18] [--examples 500] [--threads 2]

Prints seconds of both (best of several rounds, in turns) and their ratio; pixels are random, of CIFAR-10's shape.
"""

from __future__ import annotations

import argparse
import time

import torch

import machine
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.scores.driver import score_with_model
from ticketdiet.training.batches import prepare


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lowres_resnet18")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = (arguments.examples, 3, 32, 32)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(len(pixels)) % 10, tuple("abcdefghij"), (0.5,) * 3, (0.3,) * 3)
    model, inputs = build_model(arguments.model, num_classes=10).eval(), prepare(pixels, images)
    forward = scoring = float("inf")
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        with torch.no_grad():
            model(inputs)
        forward, start = min(forward, time.perf_counter() - start), time.perf_counter()
        score_with_model("el2n", model, images)
        scoring = min(scoring, time.perf_counter() - start)
    print(machine.in_words())
    print(f"{len(images)} images: forward {forward:.2f} s, EL2N {scoring:.2f} s, ratio {scoring / forward:.3f}")


if __name__ == "__main__":
    main()
