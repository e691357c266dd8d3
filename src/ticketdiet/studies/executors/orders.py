"""What a worker is told, wherever it is: where inputs and results are, what it computes on, and how it saves.

An order crosses the border to another process as JSON, whether that process is on this machine or elsewhere.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch

from ticketdiet.store.results import ResultStore
from ticketdiet.studies.context import Context, Report, say_nothing
from ticketdiet.studies.devices import choose_device
from ticketdiet.studies.energy import ALONE, Sharing
from ticketdiet.studies.executors.code_version import code_version, require_code
from ticketdiet.studies.machine import tune_allocator
from ticketdiet.studies.stage import Stage
from ticketdiet.studies.stage_data import stage_to_data
from ticketdiet.studies.stopping import StopSignal


@dataclass(frozen=True)
class WorkerOrder:
    """How a worker works the stages that it is given.

    Attributes:
        store_url: Where inputs are read and results kept.
        devices: Device of each process that works a stage, as it is called where the worker is; with several, the first
            process keeps the results.
        threads: Threads of each process.
        save_every_seconds: How often the state of a training is kept.
        sharing: With how many the first process shares the machine and its device.
    """

    store_url: str
    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    save_every_seconds: float = 30.0
    sharing: Sharing = ALONE

    def begin(
        self,
        rank: int = 0,
        *,
        store: ResultStore | None = None,
        report: Report = say_nothing,
        stop: StopSignal | None = None,
    ) -> Context:
        """Prepare this process as ordered.

        Args:
            rank: Which of the devices is that of this process.
            store: The store, where this process has opened it already.
            report: Told the steps done of the running stage.
            stop: Tells the running training to save its state and end.

        Returns:
            Where this process works its stages.

        Raises:
            DeviceError: When the device is not here.
            NoStore: When the store is not to be found from here.
        """
        torch.set_num_threads(self.threads)
        tune_allocator()
        return Context(
            store or ResultStore.open(self.store_url, create=False),
            choose_device(self.devices[rank]),
            save_every_seconds=self.save_every_seconds,
            sharing=self.sharing,
            partners=self.devices[1:],
            report=report,
            stop=stop,
        )

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what :meth:`to_text` wrote."""
        return cls.of_data(json.loads(text))

    def to_text(self) -> str:
        """Write the order as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Self:
        """Return the order whose fields, as JSON has them, are ``data``."""
        return cls(**{**data, "devices": tuple(data["devices"]), "sharing": Sharing(**data["sharing"])})


@dataclass(frozen=True)
class StageOrder:
    """What a worker elsewhere is told, which may run other code than the run does.

    Attributes:
        code: Version of the code of the run.
        worker: How it works.
        stages: The stages as data, in the order in which they are worked.
    """

    code: str
    worker: WorkerOrder
    stages: tuple[Mapping[str, Any], ...]

    @classmethod
    def of_stages(cls, stages: Sequence[Stage], worker: WorkerOrder, **rest: Any) -> Self:
        """Make the order to work ``stages`` with the code of this process."""
        return cls(code_version(), worker, tuple(map(stage_to_data, stages)), **rest)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what :meth:`to_text` wrote.

        Returns:
            The order.

        Raises:
            UserError: When this process runs other code than the run.
        """
        body = json.loads(text)
        require_code(body["code"], socket.gethostname())  # before anything that other code may have changed
        return cls(**{**body, "worker": WorkerOrder.of_data(body["worker"]), "stages": tuple(body["stages"])})

    def to_text(self) -> str:
        """Write the order as JSON."""
        return json.dumps(asdict(self))
