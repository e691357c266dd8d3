"""The kind ``slurm``: jobs of a Slurm cluster, handed in through submitit."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import BaseOptions
from ticketdiet.store.failures import is_url
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.base import EXECUTORS, Executor, ExecutorKind, RunRequest
from ticketdiet.studies.executors.job import JobOrder
from ticketdiet.studies.executors.jobs import JobExecutor
from ticketdiet.studies.executors.notes import Notes
from ticketdiet.studies.executors.orders import WorkerOrder
from ticketdiet.studies.executors.submitit_queue import SubmititQueue, cancel_orphans, check_cluster
from ticketdiet.studies.stage import Stage

FOLDER = "ticketdiet-jobs"
_TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")

Count = Annotated[int, Field(ge=1)]


def minutes_of(text: str) -> int:
    """Return the minutes of a time with units, such as ``90m``, ``2h`` or ``1d12h``.

    Raises:
        ValueError: When it is none, or zero.
    """
    match = _TIME.fullmatch(text.replace(" ", ""))
    days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = (24 * days + hours) * 60 + minutes
    if not total:
        raise ValueError("a time with units, such as 90m, 2h or 1d12h")
    return total


def _checked_time(text: str) -> str:
    minutes_of(text)
    return text


@EXECUTORS.register("slurm")
class Slurm(ExecutorKind):
    """Jobs of a Slurm cluster; a job works some stages, one after another."""

    class Options(BaseOptions):
        """How jobs are asked for. None of it can change a number but the device and the threads, as everywhere.

        Attributes:
            partition: Partition; the cluster's default when left out.
            account: Account that is charged.
            qos: Quality of service.
            constraint: Features of nodes.
            time: Limit of a job, with units. A job that reaches it saves its state and goes on later.
            gpus_per_stage: GPUs of a job.
            cpus: Cores of a job; by default as many as threads.
            threads: Threads of a job; by default as many as cores.
            memory: Memory of a job, as in ``16G``.
            device: Name of a torch device; ``auto`` is a GPU where the job has one.
            setup: Lines of shell before the work, such as ``module load cuda``.
            python: Command that starts Python on a node; by default the Python of the run.
            stages_per_job: Most stages of a job.
            most_queued_jobs: Most jobs in the queue, waiting ones included.
            most_running_jobs: Most jobs of an array that run at once.
            tries: How often a stage is handed in whose job is lost each time.
            save_seconds: Seconds before the limit at which the state is saved.
            folder: Folder for orders, notes and logs, which all nodes see.
            parameters: Further options of sbatch, such as ``{reservation: course}``.
            cluster: ``local`` starts the jobs as processes of this machine, to try a machine file without Slurm.
        """

        partition: str | None = None
        account: str | None = None
        qos: str | None = None
        constraint: str | None = None
        time: Annotated[str, AfterValidator(_checked_time)] = "2h"
        gpus_per_stage: Annotated[int, Field(ge=0)] = 0
        cpus: Count | None = None
        threads: Count | None = None
        memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?[KMGT]?B?$")] | None = None
        device: str = "auto"
        setup: tuple[str, ...] = ()
        python: str | None = None
        stages_per_job: Count = 16
        most_queued_jobs: Count = 64
        most_running_jobs: Count = 256
        tries: Count = 3
        save_seconds: Count = 90
        folder: str | None = None
        parameters: dict[str, Any] = Field(default_factory=dict)
        cluster: Literal["slurm", "local"] = "slurm"

    options: Options

    def check(self, request: RunRequest) -> None:
        """Refuse a machine without submitit or Slurm, a store that jobs cannot see, and what jobs do not do."""
        if not request.store.shared:
            raise UserError(
                f"The store {request.store.url} is in the memory of this process, and jobs cannot see it.",
                expected="a store that all nodes see",
                way_out="a folder on a shared file system or a bucket for --store",
            )
        if len(request.devices) > 1:
            raise UserError(
                f"Got the devices {', '.join(request.devices)} for jobs, which have one each.",
                expected="one device, auto by default",
                way_out="leave --device out; gpus_per_stage in executors.yaml gives a job its GPU",
            )
        if (request.workers_per_device or 1) > 1:
            raise UserError(
                f"Got {request.workers_per_device} workers per device for jobs, which work one stage at a time.",
                expected="one worker per device",
                way_out="leave --workers-per-device out; most_queued_jobs in executors.yaml bounds the jobs",
            )
        if (request.devices_per_stage or 1) > 1:
            raise UserError(
                f"Got {request.devices_per_stage} devices per stage for jobs, whose stages have one device each.",
                expected="one device per stage",
                way_out="leave --devices-per-stage out; the executors local and ray take it",
            )
        check_cluster(self.options.cluster)

    def start(self, request: RunRequest) -> Executor:
        """Make the folder of the run, cancel jobs that a killed run has left, and wait for stages."""
        options, jobs = self.options, _jobs_folder(request.store, self.options.folder)
        cancel_orphans(jobs, request.store)
        run = uuid.uuid4().hex[:12]
        notes = jobs / run / "notes"
        # Whoever can write there runs code in the jobs, and many clusters let a group write to what its members make.
        (jobs / run).mkdir(mode=0o700, parents=True)
        notes.mkdir()
        worker = WorkerOrder(
            request.store.url,
            (options.device if request.devices == ("auto",) else request.devices[0],),
            request.threads or options.threads or options.cpus or 1,
            request.save_every_seconds,
        )

        def order(stages: list[Stage]) -> str:
            return JobOrder.of_stages(stages, worker, notes=str(notes)).to_text()

        parameters = self._parameters(worker.threads)
        queue = SubmititQueue(options.cluster, run, jobs / run, parameters, order, python=options.python)
        return JobExecutor(
            queue,
            Notes(notes),
            request.store,
            most_jobs=min(options.most_queued_jobs, request.workers or options.most_queued_jobs),
            stages_per_job=options.stages_per_job,
            tries=options.tries,
        )

    def _parameters(self, threads: int) -> dict[str, Any]:
        """What submitit knows by the names that it has for Slurm."""
        options = self.options
        named = {name: getattr(options, name) for name in ("partition", "account", "qos", "constraint")}
        named |= {"mem": options.memory, "gpus_per_node": options.gpus_per_stage or None, "setup": list(options.setup)}
        return {name: value for name, value in named.items() if value} | {
            "time": minutes_of(options.time),
            "cpus_per_task": options.cpus or threads,
            "signal_delay_s": options.save_seconds,
            "array_parallelism": options.most_running_jobs,
            "additional_parameters": {"requeue": True, **options.parameters},
        }


def cancel_left_behind(store: ResultStore) -> int:
    """Cancel the jobs of killed runs on ``store``, where its folder of jobs is beside it; return how many runs."""
    return cancel_orphans(_jobs_folder(store), store)


def _jobs_folder(store: ResultStore, chosen: str | None = None) -> Path:
    """The folder for orders, notes and logs of all runs on a store."""
    beside = FOLDER if is_url(store.url) else os.path.join(store.url, "jobs")
    return Path(os.path.abspath(os.path.expanduser(chosen or beside)))
