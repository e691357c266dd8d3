"""The training loop: one, short, for pre-training, mask search, sparse training, children and score models alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ticketdiet.core.errors import TrainingDiverged, UserError
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images, Mask
from ticketdiet.training.arithmetic import reproducible
from ticketdiet.training.batches import BatchSource, CountsExamples, ImageBatches
from ticketdiet.training.draws import StepDraws
from ticketdiet.training.engine import Engine
from ticketdiet.training.evaluation import device_of
from ticketdiet.training.observers import Capture, Observer, TraceRow
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.replay import Steps, steps_of
from ticketdiet.training.schedule import learning_rate

STEPS_BETWEEN_HEALTH_CHECKS = 50


@dataclass(frozen=True, eq=False)
class TrainingState:
    """All that the rest of a training depends on, after ``step`` updates; tensors are copies on the CPU.

    Attributes:
        step: Updates done, counted from initialisation.
        weights: The module's ``state_dict``.
        optimiser: State of the optimiser: name of the state -> parameter name -> tensor of its shape.
        observers: State of each observer, in their order.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Mapping[str, Tensor]]
    observers: tuple[Mapping[str, Tensor], ...] = ()

    def to_tensors(self) -> dict[str, Tensor]:
        """Flatten into one mapping for a file; ``from_tensors`` reads it back."""
        flat = {"step": torch.tensor(self.step)}
        flat |= {f"weights/{name}": value for name, value in self.weights.items()}
        for kind, tensors in self.optimiser.items():
            flat |= {f"optimiser/{kind}/{name}": value for name, value in tensors.items()}
        for number, tensors in enumerate(self.observers):
            flat |= {f"observer{number}/{name}": value for name, value in tensors.items()}
        return flat

    @classmethod
    def from_tensors(cls, flat: Mapping[str, Tensor], num_observers: int) -> TrainingState:
        """Read what ``to_tensors`` wrote."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}

        optimiser: dict[str, dict[str, Tensor]] = {}
        for path, value in part("optimiser/").items():
            kind, _, name = path.partition("/")
            optimiser.setdefault(kind, {})[name] = value
        observers = tuple(part(f"observer{number}/") for number in range(num_observers))
        return cls(int(flat["step"]), part("weights/"), optimiser, observers)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gives.

    Attributes:
        weights: The trained ``state_dict``, copies on the CPU.
        optimiser: State of the optimiser at the end, by its name and by parameter name, for what goes on from here
            without rewinding: ``{"momentum": {...}}`` for SGD, ``exp_avg`` and ``exp_avg_sq`` for AdamW.
        trace: Measurements along the way, by the observers.
        first_step: Step at which it started (0, or that of the rewinding point).
        last_step: Step at which it ended.
        examples_seen: Examples shown, with repetition.
        unique_examples: Different examples among them; None when the source of the batches cannot tell.
        kernels: What computed the forward and backward passes, in words (``Engine.kernels``).
    """

    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Mapping[str, Tensor]]
    trace: tuple[TraceRow, ...] = field(default=())
    first_step: int = 0
    last_step: int = 0
    examples_seen: int = 0
    unique_examples: int | None = None
    kernels: str = "stock"


class DivergedAt(TrainingDiverged):
    """``TrainingDiverged`` with the last state before the loss was no longer finite."""

    state: TrainingState


def train(
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    seeds: RunSeeds,
    start_step: int = 0,
    stop_step: int | None = None,
    mask: Mask | None = None,
    examples: np.ndarray | None = None,
    observers: Sequence[Observer] = (),
    resume: TrainingState | None = None,
    batches: BatchSource | None = None,
) -> Trained:
    """Train ``model`` in place from its present weights.

    Args:
        model: float32 classifier; it starts from the weights it holds and stays on its device.
        images: Training images.
        recipe: How to train; its schedule is that of the whole training from step 0.
        seeds: Order and augmentation seeds (the initialisation is the model's own affair).
        start_step: Step that the present weights belong to: 0, or the step of the rewinding point. The optimiser's
            state is 0 there.
        stop_step: Step to stop at; default ``recipe.steps``.
        mask: Name of parameter -> tensor of 0 and 1; removed weights are exactly 0 from the start on.
        examples: int64 indices of the subset to train on; default all.
        observers: What else happens at a step.
        resume: State of this very training, saved by a ``StateObserver``; replaces the present weights. Everything
            else, ``start_step`` included, is given as it was.
        batches: Where batches come from instead of ``images`` and ``examples``.

    Returns:
        Weights, the state of the optimiser and the trace. The same inputs give the same bits with the same kernels
        (kind of CPU, build of PyTorch), threads and device; elsewhere another network of the same distribution.

    Raises:
        UserError: For steps out of range, a mask that does not fit, or fewer examples than a batch.
        TrainingDiverged: When the loss is not finite, before the update that would use it.
    """
    stop_step = recipe.steps if stop_step is None else stop_step
    _check_steps(start_step, stop_step, recipe)
    if batches is None:
        batches = ImageBatches(images.to(device_of(model)), recipe, seeds, examples)
    engine = Engine(model, recipe, mask, first_step=start_step)
    step = _resume(engine, resume, observers) if resume else start_step

    steps, draws = steps_of(engine, stop_step - step), StepDraws(seeds, engine.device)

    def capture() -> TrainingState:
        return _capture(engine, step, observers)

    try:
        with _training(model), reproducible(engine.device):
            while step < stop_step:
                for observer in observers:
                    observer.before_step(step, model, capture)
                with draws.of(step):
                    _one_step(steps, batches, recipe, step, observers, capture)
                step += 1
                if step % STEPS_BETWEEN_HEALTH_CHECKS == 0:
                    _check_health(engine, recipe, capture)
            _check_health(engine, recipe, capture)
            for observer in observers:
                observer.before_step(step, model, capture)
        final = capture()
    finally:
        engine.release()
    rows = tuple(row for observer in observers for row in observer.rows())
    seen = (stop_step - start_step) * recipe.batch_size
    unique = batches.unique_examples(start_step, stop_step) if isinstance(batches, CountsExamples) else None
    return Trained(final.weights, final.optimiser, rows, start_step, stop_step, seen, unique, steps.kernels)


def _one_step(
    steps: Steps, batches: BatchSource, recipe: Recipe, step: int, observers: Sequence[Observer], capture: Capture
) -> None:
    batch = batches.batch(step)
    logits, loss = steps.forward(batch)
    for observer in observers:
        observer.after_batch(step, batch, logits, loss)
    if not steps.update(loss, learning_rate(recipe, step), step):
        raise _diverged(step, recipe, capture)


def _check_health(engine: Engine, recipe: Recipe, capture: Capture) -> None:
    bad = engine.first_bad_step()
    if bad is not None:
        raise _diverged(bad, recipe, capture)


def _diverged(step: int, recipe: Recipe, capture: Capture) -> DivergedAt:
    error = DivergedAt(
        f"The loss stopped being finite at step {step} (learning rate {learning_rate(recipe, step):g}).",
        expected="a finite training loss; the update was not made",
        way_out="give a lower training.lr, some training.warmup_steps, or training.precision=float32",
    )
    good = capture()
    error.state = TrainingState(step, good.weights, good.optimiser, good.observers)
    return error


def _check_steps(start: int, stop: int, recipe: Recipe) -> None:
    if not 0 <= start <= stop <= recipe.steps:
        raise UserError(
            f"Got a training from step {start} to step {stop}, but the recipe has {recipe.steps} steps.",
            expected="0 <= start <= stop <= steps (k <= T)",
            way_out="give fewer pre-training steps, or more training.steps",
        )


def _capture(engine: Engine, step: int, observers: Sequence[Observer]) -> TrainingState:
    copied = {name: _own(value) for name, value in engine.model.state_dict().items()}
    optimiser = {
        kind: {name: _own(value) for name, value in views.items()} for kind, views in engine.optimiser_state.items()
    }
    return TrainingState(step, copied, optimiser, tuple(observer.tensors() for observer in observers))


def _own(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _resume(engine: Engine, state: TrainingState, observers: Sequence[Observer]) -> int:
    engine.model.load_state_dict(dict(state.weights))
    for kind in engine.optimiser_state:
        if kind not in state.optimiser:
            raise UserError(
                f"The state to resume from lacks {kind!r} of the optimiser {engine.recipe.optimiser!r}.",
                expected="the state of a training with the same recipe",
                way_out="resume with the recipe that the state was saved under, or start again",
            )
    engine.load_optimiser_state(state.optimiser)
    for observer, tensors in zip(observers, state.observers, strict=True):
        observer.load(tensors)
    return state.step


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    was = model.training
    model.train()
    try:
        yield
    finally:
        model.train(was)
