"""GraNd of a CIFAR ResNet: closed form and torch.func beside one backward pass per example.

    python benchmarks/grand_speed.py [--threads 2] [--model resnet20] [--resolution 32]

Prints milliseconds per example (best of several rounds, the ways taking turns, so that a busy machine hits all alike),
how many times faster than the plain loop that is, and the largest relative difference from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import machine
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.models.build import build_model
from ticketdiet.scores.gradient_norms import gradient_norms
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe


def plain_loop(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return gradient norms by one backward pass per example, as one would write it first."""
    model.eval()
    norms = []
    for x, y in zip(inputs, labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(x[None]), y[None]).backward()  # type: ignore[no-untyped-call]
        squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
        norms.append(torch.stack(squares).sum().sqrt())
    return torch.stack(norms)


def trained_network(name: str, resolution: int) -> nn.Module:
    """Return a network after a few steps: at initialisation its logits are extreme, and so are relative differences."""
    shape = (512, 3, resolution, resolution)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(512) % 10, tuple("abcdefghij"), (0.5,) * 3, (0.3,) * 3)
    model = build_model(name)
    train(model, images, Recipe(steps=20, batch_size=64), seeds=RunSeeds.of(0, 0))
    return model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--resolution", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tune_allocator()
    model, side = trained_network(arguments.model, arguments.resolution), arguments.resolution
    count = 128 * max(1, 32 // side) ** 2
    inputs = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    inputs, labels = inputs.to(memory_format=torch.channels_last), torch.arange(count) % 10
    ways: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {
        "plain loop": (32, lambda x, y: plain_loop(model, x, y)),
        "torch.func": (64, lambda x, y: gradient_norms(model, x, y, method="func")),
        "closed, float32": (count, lambda x, y: gradient_norms(model, x, y, method="closed")),
        "closed, bfloat16": (count, lambda x, y: gradient_norms(model, x, y, method="closed", precision="bfloat16")),
    }
    best, norms = dict.fromkeys(ways, float("inf")), {}
    for _ in range(arguments.rounds):
        for name, (count, way) in ways.items():
            start = time.perf_counter()
            norms[name] = way(inputs[:count], labels[:count]).detach()
            best[name] = min(best[name], (time.perf_counter() - start) / count * 1e3)
    loop = norms["plain loop"]
    print(machine.in_words())
    for name in ways:
        off = float((norms[name][: len(loop)] / loop - 1).abs().max())
        print(f"{name:17s} {best[name]:7.2f} ms/example  {best['plain loop'] / best[name]:5.1f}x  off by {off:.1e}")


if __name__ == "__main__":
    main()
