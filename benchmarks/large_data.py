"""A generated data set as large as ImageNet at 64x64 (1.28 million images, 15.7 GB): memory, loader, resume.

Each part is a process of its own, whose memory is sampled: what counts is the memory of its own (``RssAnon``), since
pages of mapped files are given back when memory gets short. The data set is written to the cache in ``--folder`` by
the code that decodes folders and Parquet files, and removed at the end unless ``--keep`` is given::

    python benchmarks/large_data.py --images 1280000 --folder /tmp/large-data
    python benchmarks/large_data.py --images 100000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import machine
from ticketdiet.core.seeds import RunSeeds, numpy_generator
from ticketdiet.core.values import Images
from ticketdiet.data.decoded import Decoded, Progress
from ticketdiet.data.images import load_images
from ticketdiet.data.pixel_files import Allocate, images_per_chunk, in_memory
from ticketdiet.data.request import Request
from ticketdiet.data.sources import SOURCES, SourceKind
from ticketdiet.models.build import build_model
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.loop import TrainingState, train
from ticketdiet.training.observers import StateObserver
from ticketdiet.training.recipe import Recipe

CLASSES, SIDE, BATCH = 1000, 64, 128
PARTS = ("make", "load", "step", "resume")


class Generated:
    """Random pixels, written as a source writes what it decodes: from the first image to the last."""

    def __init__(self, count: int) -> None:
        self.count = count

    def identity(self) -> Mapping[str, object]:
        """The number of images."""
        return {"generated": self.count}

    def decode(self, progress: Progress | None = None) -> Decoded:
        """Make everything in memory."""
        return self.decode_into(in_memory, progress)

    def decode_into(self, allocate: Allocate, progress: Progress | None = None) -> Decoded:
        """Make everything in arrays of ``allocate``, a chunk at a time."""
        sizes = {"train": self.count, "test": max(1, self.count // 128)}
        pixels = {name: allocate((size, 3, SIDE, SIDE)) for name, size in sizes.items()}
        labels = {name: np.arange(size) % CLASSES for name, size in sizes.items()}
        for name, array in pixels.items():
            chance, step = numpy_generator(0, name), images_per_chunk(array.shape)
            for start in range(0, len(array), step):
                part = array[start : start + step]
                part[:] = np.frombuffer(chance.bytes(part.nbytes), dtype=np.uint8).reshape(part.shape)
        return Decoded(
            pixels["train"], labels["train"], pixels["test"], labels["test"], tuple(map(str, range(CLASSES)))
        )


def open_generated(request: Request) -> Generated:
    """Open ``generated:COUNT``."""
    return Generated(int(request.argument))


class Memory:
    """Samples the memory of this process until it is asked for the most that there was, in MB."""

    def __init__(self) -> None:
        self._most = {"RssAnon": 0, "RssFile": 0}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            self._look()

    def _look(self) -> None:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        for name in self._most:
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith(name))
            self._most[name] = max(self._most[name], kilobytes)

    def most(self) -> dict[str, int]:
        """Return the most memory of its own, and the most mapped pages of files."""
        self._end.set()
        self._thread.join()
        self._look()
        return {name: kilobytes // 1024 for name, kilobytes in self._most.items()}


def training_images(options: argparse.Namespace) -> Images:
    """Return the images, streamed."""
    return load_images(f"generated:{options.images}", cache=options.folder).train.streamed()


def make(options: argparse.Namespace) -> dict[str, float]:
    """Write the cache: pixels, fingerprints, statistics."""
    images = training_images(options)
    return {"gigabytes": images.pixels.shape.numel() / 1e9}


def load(options: argparse.Namespace) -> dict[str, float]:
    """Make batches at random places of the map, without a network."""
    images = training_images(options)
    batches = ImageBatches(images, Recipe(steps=10**6, batch_size=BATCH), RunSeeds.of(0, 0))
    begun = time.perf_counter()
    batches.batch(0)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for step in range(1, 1 + options.batches):
        batches.batch(step)
    return {"first_seconds": first, "images_per_second": options.batches * BATCH / (time.perf_counter() - begun)}


def step(options: argparse.Namespace) -> dict[str, float]:
    """Train ResNet-18 for a few steps on streamed images, after one to warm up."""
    images, size = training_images(options), options.step_batch
    model = build_model("lowres_resnet18", num_classes=CLASSES, image_size=SIDE)
    recipe = Recipe(steps=10**6, batch_size=size)
    times = []
    for last in (1, 1 + options.steps):
        begun = time.perf_counter()
        train(model, images, recipe, seeds=RunSeeds.of(0, 0), stop_step=last)
        times.append(time.perf_counter() - begun)
    return {"images_per_second": options.steps * size / (times[1] - times[0])}


def resume(options: argparse.Namespace) -> dict[str, float]:
    """Train in one go, and in two halves; return how many tensors differ."""
    images, recipe, seeds = training_images(options), Recipe(steps=20, batch_size=BATCH), RunSeeds.of(0, 0)
    states: list[TrainingState] = []
    whole = train(_small(), images, recipe, seeds=seeds, observers=[StateObserver(states.append, 0.0)])
    middle = next(state for state in states if state.step == 11)
    again = train(_small(), images, recipe, seeds=seeds, resume=middle, observers=[StateObserver(_nothing, 0.0)])
    same = [torch.equal(value, again.weights[name]) for name, value in whole.weights.items()]
    return {"tensors": len(same), "different": same.count(False)}


def _small() -> torch.nn.Module:
    return build_model("resnet8", num_classes=CLASSES, image_size=SIDE, width=4)


def _nothing(_: TrainingState) -> None:
    return None


def work(part: Callable[[argparse.Namespace], dict[str, float]], options: argparse.Namespace) -> dict[str, Any]:
    """Do one part in this process, and return what it found, its seconds and its memory."""
    tune_allocator()
    memory, begun = Memory(), time.perf_counter()
    found = part(options)
    return {**found, "seconds": time.perf_counter() - begun, "megabytes": memory.most()}


def main() -> None:
    """Run the parts in turn and print what each found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_280_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--step-batch", type=int, default=16)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--worker", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if options.worker:
        with SOURCES.temporarily("generated", SourceKind("Random pixels", open_generated, "generated:COUNT")):
            print(json.dumps(work(globals()[options.worker], options)))
        return
    print(machine.in_words(torch.get_num_threads()))
    options.folder = options.folder or Path(tempfile.mkdtemp(prefix="ticketdiet-large-"))
    results = {}
    try:
        for part in options.parts:
            results[part] = _in_process(part, options)
            print(f"{part}: {json.dumps(results[part])}", flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(json.dumps({"images": options.images, "results": results}))


def _in_process(part: str, options: argparse.Namespace) -> dict[str, Any]:
    names = ("images", "folder", "batches", "steps", "step_batch")
    given = [text for name in names for text in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
    done = subprocess.run(
        [sys.executable, __file__, "--worker", part, *given], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
