"""Time and memory of choosing a subset from 10 million scores; the aim is under 2 s and 1 GB for every kind.

    python benchmarks/subset_speed.py [--examples 10000000]

Each line is a process of its own; the peak has Python, torch, scores and labels in it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

import machine
from ticketdiet.data.subsets import choose_subset

KINDS = ("random", "easiest", "hardest", "window", "stratified", "mixture")
SCORES = ("float32", "integer")


def measure(kind: str, scored: str, balanced: bool, examples: int) -> None:
    """Choose a third of the examples once, and print a line."""
    generator = np.random.default_rng(0)
    scores = generator.random(examples, dtype=np.float32)
    if scored == "integer":
        np.floor(scores * 20, out=scores)
    labels = generator.integers(0, 10, examples, dtype=np.uint8)
    before = peak_gigabytes()
    start = time.perf_counter()
    choose_subset(scores, kind, examples // 3, labels, balanced)
    seconds = time.perf_counter() - start
    peak = peak_gigabytes()
    how = f"{kind:10s}  {scored:8s} {'balanced' if balanced else '':8s}"
    print(f"{how} {seconds:6.2f} s   peak {peak:5.2f} GB, of which for choosing {peak - before:5.2f} GB", flush=True)


def peak_gigabytes() -> float:
    """Return the highest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure every kind, plain and balanced, on scores without and with ties."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000_000)
    parser.add_argument("--only", nargs=3, metavar=("KIND", "SCORES", "BALANCED"))
    arguments = parser.parse_args()
    if arguments.only:
        kind, scored, balanced = arguments.only
        measure(kind, scored, balanced == "True", arguments.examples)
        return
    print(machine.in_words(), flush=True)
    for scored in SCORES:
        for balanced in (False, True):
            for kind in KINDS:
                own = [sys.executable, __file__, "--examples", str(arguments.examples)]
                subprocess.run([*own, "--only", kind, scored, str(balanced)], check=True)


if __name__ == "__main__":
    main()
