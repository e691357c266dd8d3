"""Jobs through submitit: handing in, asking Slurm's own commands how they are, cancelling. Nothing else imports it.

submitit hands a job over as a pickle in the folder of the run, which only the user can write; in it is one object of
this module, and the text of an order. No pickle is ever read back by the run.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ticketdiet.core.errors import UserError
from ticketdiet.core.extras import import_extra
from ticketdiet.store.presence import Presence, parse_presence
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.job import work_job
from ticketdiet.studies.executors.jobs import JobEnding, JobRefused
from ticketdiet.studies.executors.sent_errors import end_of
from ticketdiet.studies.stage import Stage

Cluster = Literal["slurm", "local"]
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
MOST_REQUEUES = 1000  # each has made progress
SECONDS_OF_A_COMMAND = 60.0
SECONDS_TO_SAVE = 20  # for a step and the state after it, when a job is cancelled
RUN_FILE = "run.json"
_PREFIX = "ticketdiet-"
_NEVER = {  # what Slurm calls the reasons for which a job stays in the queue for ever
    *("AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionConfig", "PartitionNodeLimit"),
    *("PartitionTimeLimit", "QOSNotAllowed", "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"),
}
_NOT_AGAIN = {"CANCELLED", "DEADLINE", "OUT_OF_MEMORY"}
_BUSY = ("temporarily unable to accept job", "Resource temporarily unavailable")  # the cluster has too many jobs
_UNTOLD = ("Job violates accounting/QOS policy", "job limit")  # a limit, and only a line before it may say which
_LIMIT = re.compile(r"^(?:sbatch: error: )?((?:Assoc|QOS|Max|Min)\w+)\s*$", re.MULTILINE)  # such a line
_HINTS = {  # in what sbatch says -> the way out
    "Job violates": "ask for less time, memory, cores or GPUs in executors.yaml, or name another qos; "
    "`sacctmgr show qos` and `sacctmgr show assoc user=$USER` list the limits",
    "partition": "name one of the partitions that `sinfo` lists: partition: NAME in executors.yaml",
    "account": "name an account that you may charge: account: NAME in executors.yaml; `sacctmgr show user $USER -s` "
    "lists them",
    "QOS": "name a quality of service that you may use: qos: NAME in executors.yaml",
    "node configuration": "ask for what a node of the partition has: cpus, memory and gpus_per_stage in executors.yaml",
    "generic resource": "name GPUs as the cluster does: gpus_per_stage, or parameters: {gres: NAME} in executors.yaml",
    "contact slurm controller": "wait until Slurm is back, or ask its administrators; `scontrol ping` tells",
    "ermission": "ask the administrators of the cluster for access, or name another partition or account",
}


class StageJob:
    """What runs in a job: submitit calls it there, and asks it for a checkpoint before it queues the job again."""

    def __init__(self, order: str) -> None:
        self.order = order

    def __call__(self) -> None:
        """Work the stages; when the time is over, queue the job again."""
        submitit = import_extra("submitit", "slurm")
        environment = submitit.JobEnvironment()
        queue_again: Any = signal.getsignal(environment._usr_sig())
        number = work_job(self.order, str(environment.paths.stdout))
        if number == signal.SIGTERM:  # cancelled, or moved by the cluster, which queues it again itself
            raise SystemExit(128 + number)
        if number is not None:
            queue_again(number, None)

    def checkpoint(self) -> Any:
        """Return what the job does when it begins again: the same, which goes on from the store."""
        return import_extra("submitit.helpers", "slurm").DelayedSubmission(self)


class SubmititQueue:
    """The jobs of one run; see ``JobQueue``.

    Args:
        cluster: ``slurm``, or ``local`` for processes on this machine.
        run: Name of the run, of hexadecimal digits.
        folder: Folder of the run, which exists.
        parameters: What submitit's executor for Slurm takes.
        order: Makes the order of a job from its stages.
        python: Command that starts Python on a node; None for this Python.
        pause: Function that waits a number of seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        run: str,
        folder: Path,
        parameters: Mapping[str, Any],
        order: Callable[[list[Stage]], str],
        *,
        python: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        submitit = import_extra("submitit", "slurm")
        self._pause = pause
        self._cluster, self._folder, self._order = cluster, folder, order
        self._name = _PREFIX + run
        self._jobs: dict[str, Any] = {}
        _announce(folder, cluster)
        kind = submitit.SlurmExecutor if cluster == "slurm" else submitit.LocalExecutor
        self._executor = kind(folder=folder / "logs", max_num_timeout=MOST_REQUEUES, python=python)
        self._executor.update_parameters(**_for_cluster(cluster, parameters, self._name))

    def submit(self, jobs: Sequence[Sequence[Stage]]) -> list[str]:
        """Hand in jobs, as one array where there are several.

        Returns:
            Their names.

        Raises:
            JobRefused: When there are as many jobs as allowed, or may be.
            UserError: When Slurm refuses the options of the jobs.
        """
        failed = import_extra("submitit.core.utils", "slurm").FailedJobError
        with _outside_of_jobs():
            try:
                made = self._executor.submit_array([StageJob(self._order(list(stages))) for stages in jobs])
            except (failed, subprocess.CalledProcessError) as error:
                refusal = _refusal(str(error).strip())
                raise refusal from None
        self._jobs |= {job.job_id: job for job in made}
        return [job.job_id for job in made]

    def look(self) -> Mapping[str, str] | None:
        """Ask for the jobs that wait or run, all at once."""
        if self._cluster == "local":
            return {name: "" for name, job in self._jobs.items() if not job.done()}
        told = _queued(self._name)
        if told is None:
            return None
        rows = [line.split("|") for line in told.splitlines() if line.count("|") == 2]
        return {name: reason if state == "PENDING" and reason in _NEVER else "" for name, state, reason in rows}

    def ending(self, job: str) -> JobEnding:
        """Describe a job that has left the queue."""
        path = self._jobs[job].paths.stdout
        log = ""
        with contextlib.suppress(OSError):
            log = end_of(path.read_text(encoding="utf-8", errors="replace"))
        state = "" if self._cluster == "local" else _state_of(job)
        return JobEnding(state, log, str(path), again=state not in _NOT_AGAIN)

    def cancel(self, job: str | None = None) -> None:
        """Cancel a job, or all jobs of the run; they have some seconds to save their state."""
        if self._cluster == "slurm" and job:
            _command("scancel", job)
            return
        if self._cluster == "slurm":
            _cancel_run(self._name, self._pause)
            return
        for one in [self._jobs[job]] if job else self._jobs.values():
            if not one.done():
                one._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one._process.wait(SECONDS_OF_A_COMMAND)

    def clear(self, *, keep_logs: bool) -> None:
        """Remove the folder of the run, or all but its logs."""
        if not keep_logs:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        shutil.rmtree(self._folder / "notes", ignore_errors=True)
        for path in [self._folder / RUN_FILE, *(self._folder / "logs").glob("*.pkl")]:
            path.unlink(missing_ok=True)


def check_cluster(cluster: Cluster) -> None:
    """Refuse a machine without submitit, or without the commands of Slurm.

    Raises:
        UserError: When something is missing.
    """
    import_extra("submitit", "slurm", other="use --executor local")
    missing = [name for name in COMMANDS if cluster == "slurm" and shutil.which(name) is None]
    if missing:
        raise UserError(
            f"The commands of Slurm are not here: {', '.join(missing)}.",
            expected="a login node of a Slurm cluster, with sbatch in PATH",
            way_out="run this on the cluster, or use --executor local",
        )


def cancel_orphans(jobs: Path, store: ResultStore, pause: Callable[[float], None] = time.sleep) -> int:
    """Cancel the jobs of runs that were killed, which would work the same stages as a new run.

    Args:
        jobs: Folder with a folder for each run.
        store: Where the runs that go on are announced.
        pause: Function that waits a number of seconds.

    Returns:
        The number of runs whose jobs were cancelled.
    """
    # Clocks of machines may differ: a run elsewhere counts as ended once its document is gone from the store.
    running = {(one.machine, one.pid, one.began) for one in store.drivers(silent=True)}
    count = 0
    for file in sorted(jobs.glob(f"*/{RUN_FILE}")):
        driver = _driver_of(file)
        if driver is not None and (driver.machine, driver.pid, driver.began) not in running:
            _cancel_run(_PREFIX + file.parent.name, pause)
            file.unlink(missing_ok=True)
            count += 1
    return count


def _announce(folder: Path, cluster: Cluster) -> None:
    if cluster == "slurm":  # other jobs end with the session they were started in, or are in nobody's way
        (folder / RUN_FILE).write_bytes(Presence.of_this_process("0" * 32, time.time(), ()).to_bytes())


def _driver_of(file: Path) -> Presence | None:
    try:
        return parse_presence(file.read_bytes(), "0" * 32)
    except OSError:
        return None


def _for_cluster(cluster: Cluster, parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    common = {"stderr_to_stdout": True, "signal_delay_s": parameters["signal_delay_s"]}
    if cluster == "slurm":
        return {**parameters, **common, "job_name": name}
    return {**common, "timeout_min": parameters["time"], "setup": parameters.get("setup", ())}


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Let a run that is itself in a job hand in jobs that do not inherit its size."""
    if "SLURM_JOB_ID" in os.environ:
        with import_extra("submitit.helpers", "slurm").clean_env():
            yield
    else:
        yield


def _command(*arguments: str) -> str | None:
    """Return what a command of Slurm says; None when it fails, as while the controller restarts."""
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS_OF_A_COMMAND,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _queued(name: str) -> str | None:
    """Return a line for each job of a run in the queue: number, state and reason."""
    return _command("squeue", "-h", "-r", "-u", getpass.getuser(), "-n", name, "-o", "%i|%T|%r")


def _cancel_run(name: str, pause: Callable[[float], None]) -> None:
    """Take the jobs of a run that wait out of the queue, let the others save their state, and then end them."""
    ours = ("scancel", "-u", getpass.getuser(), "-n", name)
    _command(*ours, "--state=PENDING")
    # A plain scancel also ends srun, which then kills the work before the state is saved.
    _command(*ours, "--signal=TERM")
    for _ in range(SECONDS_TO_SAVE):
        if not _queued(name):
            return
        pause(1.0)
    _command(*ours)


def _state_of(job: str) -> str:
    """Ask for the state of a job that has ended; Slurm forgets it after some minutes, unless it keeps accounts."""
    told = _command("scontrol", "show", "job", "-o", job) or ""
    found = re.search(r"JobState=(\w+)", told)
    if found is None:
        found = re.search(r"(\w+)", _command("sacct", "-X", "-n", "-P", "-o", "State", "-j", job) or "")
    return found[1] if found else ""


def _refusal(said: str) -> Exception:
    limits = _LIMIT.findall(said)
    of_jobs = [limit for limit in limits if "Submit" in limit]
    if of_jobs or any(words in said for words in _BUSY):
        return JobRefused(said, passes=not of_jobs or _is_passing(of_jobs[0]))
    if not limits and any(words in said for words in _UNTOLD):
        return JobRefused(said, passes=False)
    hints = [hint for words, hint in _HINTS.items() if words in said]
    return UserError(
        f"Slurm refuses the job: {said or 'sbatch failed without a word'}",
        expected="options in executors.yaml that this cluster accepts",
        way_out=hints[0] if hints else "correct the entry of the executor in executors.yaml; docs/cluster.md has all",
    )


def _is_passing(limit: str) -> bool:
    """Whether a limit on jobs is reached by jobs that end; some clusters give 0 to who may not compute any more."""
    if "Grp" in limit or "PerAccount" in limit:
        return True
    return _command("squeue", "-h", "-u", getpass.getuser(), "-o", "%i") != ""
