"""Measures steps of a study's own training on this machine: which training, how much work it stands for, in quiet."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ticketdiet.studies.machine import tune_allocator
from ticketdiet.studies.network import Cost, Network
from ticketdiet.studies.plan import Plan
from ticketdiet.studies.stage import Stage, TrainingStage
from ticketdiet.training.precision import Measure, step_timer
from ticketdiet.training.recipe import Precision, Recipe


def trainings_left(plan: Plan, left: Collection[str]) -> list[TrainingStage]:
    """Return the stages at the addresses ``left`` that train for a step or more."""
    stages = [plan.stages[address] for address in left]
    return [stage for stage in stages if isinstance(stage, TrainingStage) and stage.cost.steps]


def most_work(trainings: list[TrainingStage]) -> TrainingStage:
    """One of the trainings of the network, batch and precision that take the most work together."""
    work: dict[tuple[Network, int, Precision], int] = {}
    kinds = [(stage.network, stage.recipe.batch_size, stage.recipe.precision) for stage in trainings]
    for kind, stage in zip(kinds, trainings, strict=True):
        work[kind] = work.get(kind, 0) + stage.cost.flops
    return trainings[kinds.index(max(work, key=work.__getitem__))]


def total_cost(stages: Iterable[Stage]) -> Cost:
    """Return what ``stages`` take together."""
    return sum((stage.cost for stage in stages), Cost())


def examples_like(stage: TrainingStage, work: Cost) -> float:
    """Return how many examples of ``stage`` take as long as ``work``, by their floating-point operations."""
    return work.flops / stage.cost.flops * stage.cost.examples if stage.cost.flops else work.examples


def step_timer_of(stage: TrainingStage, recipe: Recipe) -> Measure:
    """Return what measures steps of a training on random images of the study's shape."""

    def make_model() -> nn.Module:
        return stage.network.build(0)

    return step_timer(make_model, recipe, stage.network.shape, stage.network.num_classes)


@contextmanager
def quietly(threads: int) -> Iterator[None]:
    """Compute with so many threads, as the run will, and leave no trace: no warning, and no number drawn."""
    before = torch.get_num_threads()
    tune_allocator()
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(before)
