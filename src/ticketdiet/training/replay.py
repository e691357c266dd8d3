"""Steps on a GPU without Python: recorded once as CUDA graphs, then replayed.

A step of the networks of this field is some hundred small kernels, and starting each from Python takes longer than
running it. A recorded step is started at once. It does the same operations on the same memory, so that the bits are
those of the step it was recorded from. Two graphs make a step, forward and update, so that the loop, and whoever looks
at a batch between them, sees no difference.

Not every network can be recorded: one that looks at a number on the way waits for the device, and one that counts its
calls in Python, or draws at random, would do the recorded step again and again. The first are found when they are
recorded, the others by doing the first steps both ways; both kinds then train as ever, and ``used`` says why.
"""

from __future__ import annotations

import os
from typing import Protocol

import torch
from torch import Tensor

from ticketdiet.core.errors import check_known, first_line
from ticketdiet.training.batches import Batch
from ticketdiet.training.distributed import present_ranks
from ticketdiet.training.engine import Engine

SWITCH = "TICKETDIET_CUDA_GRAPHS"
CHOICES = ("auto", "off")  # off: every step is started from Python
WARM_UP = 3  # steps before recording, in which libraries choose algorithms and take their memory
COMPARED = 2  # steps that are done both ways
WORTH_IT = 100  # steps from which on recording costs less than it saves
_OTHER_THREADS = "thread_local"  # may use the device meanwhile


class Steps(Protocol):
    """What takes the steps of a training: the engine itself, or a recording of it."""

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and the mean loss; see ``Engine.forward``."""
        ...

    def update(self, loss: Tensor, lr: float, step: int) -> bool:
        """Take the optimiser's step; see ``Engine.update``."""
        ...

    @property
    def kernels(self) -> str:
        """What computes the steps, in words."""
        ...


def steps_of(engine: Engine, count: int) -> Steps:
    """Return what takes ``count`` steps of ``engine`` fastest: a recording on CUDA where it is worth it.

    Steps that several ranks share are not recorded, because they wait for each other on the way.

    Args:
        engine: Takes the steps by itself.
        count: Number of steps of the training.

    Returns:
        The engine, or a recording of it.

    Raises:
        UnknownName: When ``TICKETDIET_CUDA_GRAPHS`` is neither ``auto`` nor ``off``.
    """
    asked = os.environ.get(SWITCH, "auto")
    check_known(SWITCH, asked, CHOICES)
    recorded = engine.device.type == "cuda" and present_ranks().count == 1 and asked != "off"
    return ReplayedSteps(engine) if recorded and count >= WORTH_IT else engine


class ReplayedSteps:
    """Steps of an engine on a CUDA device, replayed as soon as they are known to be the same.

    Args:
        engine: What is recorded; its health checks are deferred.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._taken = 0
        self._recording: _Recording | None = None
        self._obstacle = ""
        self._eager: tuple[Batch, Tensor, list[Tensor]] | None = None  # batch, loss, and what was before

    @property
    def kernels(self) -> str:
        """What computes the steps, and whether they are replayed, in words."""
        how = f"not replayed: {self._obstacle}" if self._obstacle else "replayed as CUDA graphs"
        return f"{self._engine.kernels}, {how}"

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and the mean loss of ``batch``, without a graph for gradients."""
        if self._recording is not None and self._taken >= WARM_UP + COMPARED:
            return self._recording.forward(batch)
        compared = self._taken >= WARM_UP and not self._obstacle
        before = _copies(self._engine.changing()) if compared else []
        logits, loss = self._engine.forward(batch)
        self._eager = batch, loss, before
        # Whoever keeps these must not keep the nodes of the gradient: they belong to a stream that cannot be recorded.
        return logits.detach(), loss.detach()

    def update(self, loss: Tensor, lr: float, step: int) -> bool:
        """Take the optimiser's step on ``loss``, which is what ``forward`` returned last."""
        del loss
        self._taken += 1
        if self._eager is None:
            assert self._recording is not None
            self._recording.update(lr, step)
            return True
        (batch, own_loss, before), self._eager = self._eager, None
        healthy = self._engine.update(own_loss, lr, step)
        del own_loss
        if before:
            self._compare(batch, before, lr, step)
        return healthy

    def _compare(self, batch: Batch, before: list[Tensor], lr: float, step: int) -> None:
        """Do the step again from ``before`` by the recording, and drop the recording when it differs."""
        expected = _copies(self._engine.changing())
        _put(before, self._engine.changing())
        try:
            self._recording = self._recording or _Recording(self._engine, batch)
            self._recording.forward(batch)
            self._recording.update(lr, step)
            same = all(map(torch.equal, expected, self._engine.changing()))
            self._obstacle = "" if same else "the network does not do the same at every step"
        except RuntimeError as error:  # of CUDA, which names the operation
            self._obstacle = first_line(error)[:200]
        if self._obstacle:
            self._recording = None
            _put(expected, self._engine.changing())


class _Recording:
    """Two graphs over memory of their own: a batch goes in, logits and loss come out, the engine's tensors change."""

    def __init__(self, engine: Engine, batch: Batch) -> None:
        self._engine = engine
        self._batch = Batch(
            *(torch.empty_like(part).copy_(part) for part in (batch.inputs, batch.labels, batch.indices))
        )
        self._forward, self._update = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        engine.announce(0.0, 0)
        with torch.cuda.graph(self._forward, capture_error_mode=_OTHER_THREADS):
            self._logits, self._loss = engine.forward(self._batch)
        with torch.cuda.graph(self._update, pool=self._forward.pool(), capture_error_mode=_OTHER_THREADS):
            engine.update_on_device(self._loss)
        self._logits, self._loss = self._logits.detach(), self._loss.detach()

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self._batch.inputs.copy_(batch.inputs)
        self._batch.labels.copy_(batch.labels)
        self._forward.replay()
        return self._logits.clone(), self._loss.clone()

    def update(self, lr: float, step: int) -> None:
        self._engine.announce(lr, step)
        self._update.replay()


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _put(values: list[Tensor], tensors: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
