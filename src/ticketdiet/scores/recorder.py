"""Records the training dynamics of each example from the training batches, in bounded memory.

It watches the loop of this package as an observer, and works in any other PyTorch loop::

    recorder = TrainingRecorder(len(dataset))
    for indices, inputs, labels in loader:
        logits = model(inputs)
        recorder.update(indices, logits, labels)
        ...
    hard = recorder.scores("forgetting")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ticketdiet.core.errors import DataError, check_known
from ticketdiet.data.checks import is_integer
from ticketdiet.scores.pointwise import Pointwise, pointwise
from ticketdiet.training.batches import Batch
from ticketdiet.training.observers import Observer

_MEANS = ("loss", "entropy", "confidence", "margin", "logit_margin")


class TrainingRecorder(Observer):
    """Running statistics of each example over its visits in training.

    At a visit the recorder sees what the training sees: augmented images, weights before the update, BatchNorm in train
    mode. Memory is 58 bytes per example, whatever the length of the training.

    Args:
        num_examples: Examples of the data set (n).

    Attributes:
        visits: int32 (n,): how often each example was seen.
        forgotten: int32 (n,): changes from correct to wrong between successive visits.
        learned: bool (n,): whether it was ever correct.
    """

    def __init__(self, num_examples: int) -> None:
        if not is_integer(num_examples) or num_examples < 1:
            raise DataError(
                f"The number of examples is {num_examples!r}.",
                expected="an integer of at least 1",
                way_out="give len(data)",
            )
        self.visits = torch.zeros(num_examples, dtype=torch.int32)
        self.forgotten = torch.zeros(num_examples, dtype=torch.int32)
        self.learned = torch.zeros(num_examples, dtype=torch.bool)
        self._correct = torch.zeros(num_examples, dtype=torch.bool)
        # Means by Welford's update; float64, so that a long training does not drown late visits.
        self._means = torch.zeros(len(_MEANS), num_examples, dtype=torch.float64)
        self._squares = torch.zeros(num_examples, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.visits)

    def update(self, indices: Tensor | ArrayLike, logits: Tensor | ArrayLike, labels: Tensor | ArrayLike) -> None:
        """Record one batch, or refuse it as a whole.

        Args:
            indices: int (batch,): positions in the data set. One that occurs twice counts as two visits, in order.
            logits: Finite numbers (batch, classes), before the update; they may need gradients.
            labels: int (batch,), in [0, classes).

        Raises:
            DataError: When something cannot be made a tensor, shapes do not fit, an index or label is out of range, or
                a logit is NaN or infinite.
        """
        outputs = _tensor(logits, "logits").detach()
        where, own = (
            _integers(values, name, outputs.device) for values, name in ((indices, "indices"), (labels, "labels"))
        )
        self._check(where, outputs, own)
        seen = pointwise(outputs, own)
        for part in _rounds(where):
            chosen = Pointwise(**{name: value[part] for name, value in vars(seen).items()})
            self._add(where[part], chosen)

    def after_batch(self, step: int, batch: Batch, logits: Tensor, loss: Tensor) -> None:
        """Record the batch of a step of the training loop, which never repeats an example."""
        self._add(batch.indices, pointwise(logits, batch.labels))

    def _check(self, where: Tensor, logits: Tensor, labels: Tensor) -> None:
        if logits.dim() != 2 or where.shape != labels.shape or where.shape != logits.shape[:1]:
            raise DataError(
                f"The shapes of the batch are {tuple(where.shape)}, {tuple(logits.shape)} and {tuple(labels.shape)}.",
                expected="indices (batch,), logits (batch, classes) and labels (batch,)",
                way_out="give all three of the same batch",
            )
        if not len(where):
            return
        _check_range(where, "indices", len(self), "make the recorder for the whole data set, and give positions in it")
        _check_range(labels, "labels", logits.shape[1], "number the classes from 0, one logit per class")
        finite = torch.isfinite(logits.float())
        if not finite.all():
            bad = where[~finite.all(dim=1)]
            raise DataError(
                f"{len(bad)} of {len(where)} examples have NaN or infinite logits; the first is example {bad[0]:d}.",
                expected="finite logits",
                way_out="stop here: the training has diverged, so lower the learning rate or train in float32",
            )

    def _add(self, where: Tensor, seen: Pointwise) -> None:
        self._follow(where.device)
        visits = self.visits[where] + 1
        self.visits[where] = visits
        self.forgotten[where] += (self._correct[where] & ~seen.correct).int()
        self._correct[where] = seen.correct
        self.learned[where] |= seen.correct
        values = torch.stack([getattr(seen, name) for name in _MEANS]).double()
        before = self._means[:, where]
        after = before + (values - before) / visits
        self._means[:, where] = after
        row = _MEANS.index("confidence")
        self._squares[where] += (values[row] - before[row]) * (values[row] - after[row])

    def _follow(self, device: torch.device) -> None:
        """Move the record to where the logits are: a copy to the CPU at every step would stall a GPU."""
        if self.visits.device != device:
            self.load({name: value.to(device) for name, value in self._state().items()})

    def mean(self, quantity: str) -> np.ndarray:
        """Return the mean of a quantity over visits.

        Args:
            quantity: ``loss``, ``entropy``, ``confidence``, ``margin`` or ``logit_margin``.

        Returns:
            float64 (n,), a copy.

        Raises:
            UnknownName: For another quantity.
            DataError: When some example was never visited.
        """
        check_known("recorded quantity", quantity, _MEANS)
        self._check_visited()
        return np.asarray(self._means[_MEANS.index(quantity)].cpu().numpy()).copy()

    def scores(self, kind: str) -> np.ndarray:
        """Return a score made of what was recorded: float32 (n,), high means hard.

        Args:
            kind: ``forgetting``, ``loss``, ``entropy``, ``margin``, ``confidence``, ``aum`` or ``variance``; see
                ``ticketdiet.scores.dynamics`` for what they are.

        Returns:
            One score per example, in the order of the data set.

        Raises:
            UnknownName: For another kind.
            DataError: When some example was never visited.
        """
        check_known("recorded score", kind, _READINGS)
        self._check_visited()
        return _READINGS[kind](self).astype(np.float32)

    def _check_visited(self) -> None:
        unseen = np.flatnonzero(self.visits.cpu().numpy() == 0)
        if len(unseen):
            raise DataError(
                f"{len(unseen)} of {len(self)} examples were never visited; the first is example {unseen[0]}.",
                expected="at least one visit of every example",
                way_out="train longer: an epoch drops its last incomplete batch, so it takes more than one",
            )

    def _state(self) -> dict[str, Tensor]:
        return {
            "visits": self.visits,
            "forgotten": self.forgotten,
            "learned": self.learned,
            "correct": self._correct,
            "means": self._means,
            "squares": self._squares,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return everything recorded so far, as copies on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self._state().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a record that ``tensors`` gave."""
        self.visits, self.forgotten, self.learned = tensors["visits"], tensors["forgotten"], tensors["learned"]
        self._correct, self._means, self._squares = tensors["correct"], tensors["means"], tensors["squares"]


def _forgetting(recorder: TrainingRecorder) -> np.ndarray:
    counts = recorder.forgotten.cpu().numpy().astype(np.float64)
    return np.where(recorder.learned.cpu().numpy(), counts, np.inf)


def _variance(recorder: TrainingRecorder) -> np.ndarray:
    return np.asarray((recorder._squares / recorder.visits).cpu().numpy())


_READINGS: dict[str, Callable[[TrainingRecorder], np.ndarray]] = {
    "forgetting": _forgetting,
    "loss": lambda recorder: recorder.mean("loss"),
    "entropy": lambda recorder: recorder.mean("entropy"),
    "margin": lambda recorder: -recorder.mean("margin"),
    "confidence": lambda recorder: 1 - recorder.mean("confidence"),
    "aum": lambda recorder: -recorder.mean("logit_margin"),
    "variance": _variance,
}


def _tensor(values: Tensor | ArrayLike, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise DataError(
            f"The {name} of type {type(values).__name__} cannot be made a tensor: {reason}.",
            expected="a tensor, an array or a list of numbers",
            way_out=f"torch.as_tensor({name}) has to work",
        ) from None
    if tensor.is_complex():
        raise DataError(
            f"The {name} have the dtype {tensor.dtype}.",
            expected="real numbers",
            way_out=f"give the {name} that the loss takes",
        )
    return tensor


def _integers(values: Tensor | ArrayLike, name: str, device: torch.device) -> Tensor:
    tensor = _tensor(values, name)
    # An empty list makes a float tensor, which does no harm.
    if tensor.numel() and (tensor.is_floating_point() or tensor.dtype == torch.bool):
        raise DataError(
            f"The {name} have the dtype {tensor.dtype}.",
            expected="integers of shape (batch,)",
            way_out="torch.nonzero(mask)[:, 0] makes indices of a mask" if name == "indices" else "give class numbers",
        )
    return tensor.to(device, torch.int64)


def _check_range(values: Tensor, name: str, bound: int, way_out: str) -> None:
    low, high = int(values.min()), int(values.max())
    if not 0 <= low <= high < bound:
        raise DataError(
            f"The {name} range from {low} to {high}.",
            expected=f"positions in [0, {bound - 1}]" if name == "indices" else f"labels in [0, {bound - 1}]",
            way_out=way_out,
        )


def _rounds(where: Tensor) -> list[Tensor]:
    """Split a batch into parts without repeats: first occurrences, second occurrences, ..., as positions."""
    _, inverse, counts = torch.unique(where, return_inverse=True, return_counts=True)
    if len(counts) == len(where):
        return [torch.arange(len(where), device=where.device)]
    order = inverse.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    occurrence = torch.empty_like(order)
    occurrence[order] = torch.arange(len(where), device=where.device) - starts[inverse[order]]
    return [(occurrence == number).nonzero()[:, 0] for number in range(int(counts.max()))]
