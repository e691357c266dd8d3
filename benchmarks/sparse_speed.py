"""One training step of a sparse network by the sparse kernels, beside the engine's own dense step in float32.

ResNet-20 at 32x32 and ResNet-14 at 16x16, batch 128, random pixels, every convolution at the same density. Dense and
sparse networks take turns of a few steps in one process and the least time of a step counts, so that other work on the
machine slows all of them.
Each number of threads is a process of its own. ``--isa avx2`` holds torch and the kernels to AVX2::

    python benchmarks/sparse_speed.py --rounds 20 --threads 1 2

On a busy machine, ``--threads 1 --cpu-time`` counts the CPU time of the process in place of the time that passed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

import machine
from ticketdiet.kernels.compiled import kernels
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.models.build import build_model
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.training.batches import Batch
from ticketdiet.training.engine import Engine
from ticketdiet.training.recipe import Recipe

DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.035)
GOALS = {0.2: 1.5, 0.1: 2.0, 0.05: 3.0, 0.035: 3.5}  # times the speed of the dense step
NETWORKS = {"resnet20": 32, "resnet14": 16}
BATCH = 128
IN_A_ROW = 3  # steps of one network: a training finds in the cache what its last step left there
CAPS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "TICKETDIET_KERNELS": "avx2"}


def stepper(name: str, side: int, density: float | None) -> Callable[[], None]:
    """Return a function that takes one training step; a density of None is the dense engine."""
    model = build_model(name, image_size=side).train()
    generator = torch.Generator().manual_seed(0)
    mask = None
    if density is not None:
        convolutions = [(key, p) for key, p in model.named_parameters() if p.dim() == 4]
        mask = {key: (torch.rand(p.shape, generator=generator) < density).to(torch.uint8) for key, p in convolutions}
    chosen: SparseKernels = "off" if density is None else 1.0
    engine = Engine(model, Recipe(precision="float32", sparse_kernels=chosen), mask)
    labels = torch.randint(0, 10, (BATCH,), generator=generator)
    inputs = torch.randn(BATCH, 3, side, side, generator=generator).to(memory_format=torch.channels_last)
    batch = Batch(inputs, labels, torch.arange(BATCH))

    def step() -> None:
        _, loss = engine.forward(batch)
        engine.update(loss, 0.01, 0)

    return step


def measure_here(options: argparse.Namespace) -> None:
    """Measure with one number of threads in this process, and print what came out as JSON."""
    tune_allocator()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads[0])
    found = {}
    for name, side in NETWORKS.items():
        steps = {"dense": stepper(name, side, None)} | {str(d): stepper(name, side, d) for d in DENSITIES}
        least = dict.fromkeys(steps, float("inf"))
        for _ in range(options.rounds + 1):  # the first round warms up
            for key, step in steps.items():
                for _ in range(IN_A_ROW):
                    started = clock()
                    step()
                    least[key] = min(least[key], clock() - started)
        found[name] = {key: seconds * 1e3 for key, seconds in least.items()}
    print(json.dumps({"milliseconds": found, "target": kernels().target, "torch": torch.__version__}))


def measure_apart(options: argparse.Namespace, threads: int) -> dict[str, object]:
    """Measure with ``threads`` threads in a fresh process."""
    command = [sys.executable, __file__, "--here", "--rounds", str(options.rounds), "--threads", str(threads)]
    command += ["--cpu-time"] if options.cpu_time else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)} | (CAPS if options.isa == "avx2" else {})
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    result: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return result


def compare(options: argparse.Namespace) -> None:
    """Measure each number of threads; print a table and JSON."""
    print(machine.in_words())
    print(f"batch {BATCH}, least of {options.rounds} rounds")
    results = {}
    for threads in options.threads:
        results[threads] = result = measure_apart(options, threads)
        print(f"{threads} thread(s), kernels for {result['target']}, torch {result['torch']}")
        for name, times in result["milliseconds"].items():  # type: ignore[attr-defined]
            dense = times.pop("dense")
            print(f"  {name} {NETWORKS[name]}x{NETWORKS[name]}: dense {dense:.1f} ms per step")
            for density, milliseconds in times.items():
                goal = GOALS.get(float(density))
                bar = f"   (goal {goal}x)" if goal else ""
                print(f"    density {density:>5}: {milliseconds:7.1f} ms  {dense / milliseconds:5.2f}x{bar}")
            times["dense"] = dense
    print(json.dumps({"machine": machine.facts(), "isa": options.isa, "results": results}))


def main() -> None:
    """Compare, or with ``--here`` measure one number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--isa", choices=("native", "avx2"), default="native")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time: for one thread on a busy machine")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    options = parser.parse_args()
    if options.here:
        measure_here(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
