"""What else happens at a step: evaluation, saved weights, saved state, progress. The loop itself only trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ticketdiet.core.values import Images
from ticketdiet.kernels.line import SparseKernels
from ticketdiet.training.batches import Batch
from ticketdiet.training.evaluation import evaluate
from ticketdiet.training.recipe import Precision

if TYPE_CHECKING:
    from ticketdiet.training.loop import TrainingState

Capture = Callable[[], "TrainingState"]


@dataclass(frozen=True)
class TraceRow:
    """One measurement along a training: ``value`` of ``metric`` on ``split`` after ``step`` updates."""

    step: int
    metric: str
    split: str
    value: float


class Observer:
    """Base of observers: override what is needed. State in ``tensors`` survives a kill and a resume.

    An observer must not change the network or any generator.
    """

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Look at the network after ``step`` updates, and once more at the end; ``capture()`` copies the state."""

    def after_batch(self, step: int, batch: Batch, logits: Tensor, loss: Tensor) -> None:
        """Look at a batch, its float32 logits and its mean loss, before the update leaves ``step``."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state to save with a training, as copies."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state that ``tensors()`` gave."""

    def rows(self) -> list[TraceRow]:
        """Return what goes into the trace of the training."""
        return []


class EvaluationObserver(Observer):
    """Evaluates on whole splits, in eval mode, at chosen steps.

    Args:
        splits: Images by the name of their split, on the device of the network.
        steps: Steps at which to evaluate.
        precision: Precision of the forward pass.
        within: Context in which the network is evaluated, which must leave it as it was.
        suffix: What the names of the metrics end in, so that two evaluations of one split stay apart.
        sparse_kernels: As in a recipe.
    """

    def __init__(
        self,
        splits: Mapping[str, Images],
        steps: Collection[int],
        precision: Precision,
        *,
        within: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
        suffix: str = "",
        sparse_kernels: SparseKernels = "auto",
    ) -> None:
        self._splits, self._steps, self._precision = dict(splits), frozenset(steps), precision
        self._within, self._suffix, self._kernels = within, suffix, sparse_kernels
        self._rows: list[tuple[int, int, float, float]] = []

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Evaluate if this is one of the steps, and if the state that was taken up does not hold it already."""
        done = bool(self._rows) and self._rows[-1][0] == step
        if step in self._steps and not done:
            self.look(step, model)

    def look(self, step: int, model: nn.Module) -> None:
        """Evaluate ``model``, which has had ``step`` updates."""
        with self._within(model):
            for number, images in enumerate(self._splits.values()):
                result = evaluate(model, images, precision=self._precision, sparse_kernels=self._kernels)
                self._rows.append((step, number, result.accuracy, result.loss))

    def tensors(self) -> dict[str, Tensor]:
        """Rows so far: float64 (rows, 4)."""
        return {"rows": torch.tensor(self._rows, dtype=torch.float64).reshape(-1, 4)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up rows."""
        self._rows = [(int(s), int(n), a, loss) for s, n, a, loss in tensors["rows"].tolist()]

    def rows(self) -> list[TraceRow]:
        """Accuracy and loss of every split at every chosen step."""
        names = list(self._splits)
        return [
            TraceRow(step, metric + self._suffix, names[number], value)
            for step, number, accuracy, loss in self._rows
            for metric, value in (("accuracy", accuracy), ("loss", loss))
        ]


class BatchLossObserver(Observer):
    """Keeps the mean loss of the training batches over windows of ``every`` steps, as a smooth training curve."""

    def __init__(self, every: int = 100) -> None:
        self._every = every
        self._sum: Tensor | None = None
        self._count = 0
        self._means: list[tuple[int, Tensor]] = []

    def after_batch(self, step: int, batch: Batch, logits: Tensor, loss: Tensor) -> None:
        """Add the loss; close the window where it ends."""
        value = loss.detach().double()
        self._sum = value if self._sum is None else self._sum + value
        self._count += 1
        if (step + 1) % self._every == 0:
            self._means.append((step + 1, self._sum / self._count))
            self._sum, self._count = None, 0

    def tensors(self) -> dict[str, Tensor]:
        """Closed windows, float64 (windows, 2), and the open one, float64 (2,)."""
        closed = [[float(step), float(mean)] for step, mean in self._means]
        running = 0.0 if self._sum is None else float(self._sum)
        return {
            "closed": torch.tensor(closed, dtype=torch.float64).reshape(-1, 2),
            "open": torch.tensor([running, float(self._count)], dtype=torch.float64),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the windows."""
        self._means = [
            (int(step), torch.tensor(mean, dtype=torch.float64)) for step, mean in tensors["closed"].tolist()
        ]
        running, count = tensors["open"].tolist()
        self._count = int(count)
        self._sum = torch.tensor(running, dtype=torch.float64) if self._count else None

    def rows(self) -> list[TraceRow]:
        """Mean batch loss of every closed window, at its last step."""
        return [TraceRow(step, "loss", "train_batches", float(mean)) for step, mean in self._means]


class StateObserver(Observer):
    """Hands the state of the training to ``save`` every so often, so that a killed one goes on where it was.

    Args:
        save: Receives the state.
        every_seconds: Time between saves.
        every_steps: Steps between saves instead, for tests.
    """

    def __init__(
        self, save: Callable[[TrainingState], None], every_seconds: float = 30.0, every_steps: int | None = None
    ) -> None:
        self._save, self._seconds, self._steps = save, every_seconds, every_steps
        self._last = time.monotonic()

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Save if it is time."""
        due = step % self._steps == 0 if self._steps else time.monotonic() - self._last >= self._seconds
        if due:
            self._save(capture())
            self._last = time.monotonic()


class ProgressObserver(Observer):
    """Tells ``report`` the step, at most every ``every_seconds``."""

    def __init__(self, report: Callable[[int], None], every_seconds: float = 0.25) -> None:
        self._report, self._seconds, self._last = report, every_seconds, 0.0

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Report if it is time."""
        now = time.monotonic()
        if now - self._last >= self._seconds:
            self._report(step)
            self._last = now


class WeightsObserver(Observer):
    """Keeps a copy of the weights at chosen steps: ``weights[step]`` maps names to tensors on the CPU."""

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = frozenset(steps)
        self.weights: dict[int, dict[str, Tensor]] = {}

    def before_step(self, step: int, model: nn.Module, capture: Capture) -> None:
        """Copy if this is one of the steps."""
        if step in self._steps:
            self.weights[step] = dict(capture().weights)

    def tensors(self) -> dict[str, Tensor]:
        """All copies so far, named ``step/name``."""
        return {f"{step}/{name}": value for step, kept in self.weights.items() for name, value in kept.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the copies."""
        for key, value in tensors.items():
            step, name = key.split("/", 1)
            self.weights.setdefault(int(step), {})[name] = value
