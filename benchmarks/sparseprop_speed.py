"""One training step under a mask, beside SparseProp (Nikdan et al., ICML 2023, arXiv 2302.04852).

SparseProp has to be installed, which compiles it: ``pip install pybind11 sparseprop``, in an environment of its own if
you like. It replaces single layers, those of less than 20 % density in which it is faster than PyTorch, and trains in a
plain PyTorch loop with ``torch.optim.SGD``; ours is the engine. ResNet-20 at 32x32, batch 128, random pixels, every
convolution at the same density. Steps alternate in one process and the least time of each counts::

    python benchmarks/sparseprop_speed.py --rounds 10 --threads 1
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from importlib import import_module

import torch
from torch.nn import functional as F

import machine
from ticketdiet.models.build import build_model
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.training.batches import Batch
from ticketdiet.training.engine import Engine
from ticketdiet.training.recipe import Recipe

DENSITIES = (0.2, 0.1, 0.05)
SIDE, BATCH = 32, 128


def pruned_model(density: float | None) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Return ResNet-20 with every convolution at ``density``, and its mask; None is dense."""
    model = build_model("resnet20", image_size=SIDE).train()
    generator = torch.Generator().manual_seed(0)
    convolutions = [(name, weight) for name, weight in model.named_parameters() if weight.dim() == 4]
    mask = {
        name: (torch.rand(weight.shape, generator=generator) < (density or 1.0)).to(torch.uint8)
        for name, weight in convolutions
    }
    with torch.no_grad():
        for name, weight in convolutions:
            weight.mul_(mask[name])
    return model, mask


def batch() -> Batch:
    """Return a batch of random pixels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 10, (BATCH,), generator=generator)
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    return Batch(inputs, labels, torch.arange(BATCH))


def own_step(density: float | None) -> Callable[[], None]:
    """Return a step of our engine; a density of None is its dense step."""
    model, mask = pruned_model(density)
    engine = Engine(model, Recipe(sparse_kernels=1.0), mask if density is not None else None)
    shown = batch()
    shown = Batch(shown.inputs.to(memory_format=torch.channels_last), shown.labels, shown.indices)

    def step() -> None:
        _, loss = engine.forward(shown)
        engine.update(loss, 0.01, 0)

    return step


def sparseprop_step(density: float) -> Callable[[], None]:
    """Return a step of a plain loop on the network in which SparseProp has replaced what it is faster in."""
    model, _ = pruned_model(density)
    swap = import_module("sparseprop.utils").swap_modules_with_sparse
    with contextlib.redirect_stdout(io.StringIO()):
        network = swap(model, (BATCH, 3, SIDE, SIDE), inplace=True)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    shown = batch()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(shown.inputs), shown.labels)
        torch.autograd.backward(loss)
        optimiser.step()

    return step


def main() -> None:
    """Measure, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(options.threads)
    print(machine.in_words(options.threads))
    steps = {("ours", 1.0): own_step(None)}
    for density in DENSITIES:
        steps[("ours", density)] = own_step(density)
        steps[("sparseprop", density)] = sparseprop_step(density)
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(options.rounds + 1):  # the first round warms up
        for key, step in steps.items():
            began = time.perf_counter()
            step()
            least[key] = min(least[key], time.perf_counter() - began)
    print(f"our dense step: {1e3 * least['ours', 1.0]:.0f} ms")
    for density in DENSITIES:
        ours, theirs = least["ours", density], least["sparseprop", density]
        print(f"density {density}: {1e3 * ours:.0f} ms, SparseProp {1e3 * theirs:.0f} ms: {theirs / ours:.2f}x as fast")
    milliseconds = {f"{who} {density}": 1e3 * seconds for (who, density), seconds in least.items()}
    print(json.dumps({"machine": machine.facts(options.threads), "milliseconds": milliseconds}))


if __name__ == "__main__":
    main()
