"""What Slurm is asked for, what it says, and what becomes of it; no cluster is needed."""

import os
import time
import uuid
from pathlib import Path

import pytest

from ticketdiet.core.errors import UserError
from ticketdiet.store.presence import Presence
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors import slurm, submitit_queue
from ticketdiet.studies.executors.base import RunRequest
from ticketdiet.studies.executors.jobs import JobRefused
from ticketdiet.studies.executors.slurm import Slurm, minutes_of
from ticketdiet.studies.executors.submitit_queue import RUN_FILE, cancel_orphans


@pytest.mark.parametrize(("text", "minutes"), [("90m", 90), ("2h", 120), ("1d12h", 2160), ("1h 30m", 90), ("3d", 4320)])
def test_times_have_units(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "120", "0h", "2:00:00", "h", "-2h", "2h1d", "1.5h"])
def test_a_time_that_could_be_misread_is_refused(text):
    with pytest.raises(ValueError, match="a time with units"):
        minutes_of(text)


def request(store, plan, **options):
    return RunRequest(store=store, plan=plan, **options)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A machine whose PATH has programs that say what a test tells them to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    return Commands(folder)


class Commands:
    def __init__(self, folder):
        self._folder = folder
        for name in submitit_queue.COMMANDS:
            self(name)

    def __call__(self, name, text="", code=0, error=""):
        path, folder = self._folder / name, self._folder
        path.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/{name}.calls\n'
            f"printf '%s' '{text}'\nprintf '%s' '{error}' >&2\nexit {code}\n"
        )
        path.chmod(0o755)

    def calls(self, name):
        return (self._folder / f"{name}.calls").read_text().splitlines()


def test_a_machine_without_slurm_is_refused_before_anything_is_written(plan_tiny, store, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"not here: sbatch, srun(.|\n)*a login node(.|\n)*--executor local"):
        Slurm().check(request(store, plan_tiny()))
    Slurm({"cluster": "local"}).check(request(store, plan_tiny()))


def test_a_store_in_memory_and_several_devices_are_refused(plan_tiny, store, commands):
    with pytest.raises(UserError, match=r"memory of this process(.|\n)*shared file system"):
        Slurm().check(request(ResultStore.open(f"memory://{uuid.uuid4().hex}"), plan_tiny()))
    with pytest.raises(UserError, match=r"cuda:0, cuda:1(.|\n)*gpus_per_stage"):
        Slurm().check(request(store, plan_tiny(), devices=("cuda:0", "cuda:1")))
    with pytest.raises(UserError, match=r"2 workers per device(.|\n)*--workers-per-device"):
        Slurm().check(request(store, plan_tiny(), workers_per_device=2))


def test_a_missing_submitit_names_the_extra(plan_tiny, store, commands, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'ticketdiet\[slurm\]'"):
        Slurm().check(request(store, plan_tiny()))


OPTIONS = {
    "partition": "gpu",
    "account": "diet",
    "time": "1h30m",
    "gpus_per_stage": 1,
    "threads": 4,
    "memory": "16G",
    "setup": ["module load cuda"],
    "stages_per_job": 4,
    "most_running_jobs": 5,
    "parameters": {"reservation": "course"},
}


def test_sbatch_is_asked_for_what_the_options_say(plan_tiny, store, commands):
    commands("sbatch", "Submitted batch job 77")
    plan = plan_tiny()
    executor = Slurm(OPTIONS).start(request(store, plan))
    for stage in plan.stages.values():
        executor.submit(stage)
    executor.progress()
    (script,) = Path(store.url, "jobs").glob("*/logs/77_submission.sh")
    lines = script.read_text().splitlines()
    for asked in ("partition=gpu", "account=diet", "time=90", "gpus-per-node=1", "cpus-per-task=4", "mem=16G"):
        assert f"#SBATCH --{asked}" in lines
    for asked in ("requeue", "reservation=course", "signal=USR2@90", "open-mode=append"):
        assert f"#SBATCH --{asked}" in lines
    (array,) = [line for line in lines if "--array" in line]
    assert array.endswith(("%5", "%4", "%3", "%2"))
    assert "module load cuda" in lines
    assert any(line.startswith("#SBATCH --job-name=ticketdiet-") for line in lines)
    executor.close(now=True)
    (name,) = [line.partition("=")[2] for line in lines if "--job-name" in line]
    assert [f"-n {name} " in f"{call} " for call in commands.calls("scancel")] == [True, True]


def test_nobody_else_can_write_what_a_job_unpickles(plan_tiny, store, commands):
    before = os.umask(0o002)
    try:
        Slurm(OPTIONS).start(request(store, plan_tiny()))
    finally:
        os.umask(before)
    (run,) = Path(store.url, "jobs").iterdir()
    assert run.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("sbatch: error: invalid partition specified: nope", "partition: NAME"),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "sinfo"),
        ("Batch job submission failed: Invalid qos specification", "executors.yaml"),
        ("Batch job submission failed: Requested node configuration is not available", "gpus_per_stage"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres: NAME"),
        ("Unable to contact slurm controller (connect failure)", "scontrol ping"),
        ("Batch job submission failed: Access/permission denied", "administrators"),
        ("something new", "docs/cluster.md"),
        ("", "executors.yaml"),
    ],
)
def test_what_slurm_refuses_is_said_with_a_way_out(plan_tiny, store, commands, said, way_out):
    commands("sbatch", error=said, code=1)
    executor = Slurm().start(request(store, plan_tiny()))
    executor.submit(next(iter(plan_tiny().stages.values())))
    with pytest.raises(UserError) as caught:
        executor.progress()
    assert said in caught.value.came
    assert way_out in caught.value.way_out


POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("said", "queued", "passes"),
    [
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: {POLICY}", "12\n", True),
        (f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}", "12\n", True),
        (f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}", "", False),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\nsbatch: error: {POLICY}", "", True),
        (f"sbatch: error: MaxSubmitJobsPerAccount\nsbatch: error: {POLICY}", "", True),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", "", True),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", "", True),
        (f"sbatch: error: {POLICY}", "12\n", False),
        (POLICY, "", False),
    ],
)
def test_a_limit_on_jobs_is_no_error_and_passes_where_jobs_are_in_the_queue(commands, said, queued, passes):
    commands("squeue", queued)
    refusal = submitit_queue._refusal(said)
    assert isinstance(refusal, JobRefused)
    assert (str(refusal), refusal.passes) == (said, passes)


def test_a_queue_that_cannot_say_whose_jobs_it_has_may_pass(commands):
    commands("squeue", code=1)
    refusal = submitit_queue._refusal(f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}")
    assert isinstance(refusal, JobRefused)
    assert refusal.passes


@pytest.mark.parametrize("limit", ["QOSMaxWallDurationPerJobLimit", "AssocMaxCpuPerJobLimit", "QOSMinGRES"])
def test_a_limit_on_what_a_job_asks_for_never_passes(commands, limit):
    refusal = submitit_queue._refusal(f"sbatch: error: {limit}\nsbatch: error: {POLICY}")
    assert isinstance(refusal, UserError)
    assert limit in refusal.came
    assert "less time, memory, cores or GPUs" in refusal.way_out


@pytest.fixture
def queue(tmp_path, commands):
    commands("sbatch", "Submitted batch job 77")
    parameters = {"time": 60, "signal_delay_s": 90}
    return submitit_queue.SubmititQueue("slurm", "abc", tmp_path, parameters, lambda stages: "{}")


def test_the_queue_is_read_in_one_question_and_only_hopeless_reasons_count(queue, commands):
    commands("squeue", "77_0|RUNNING|None\n77_1|PENDING|Priority\n77_2|PENDING|PartitionTimeLimit\nnonsense\n")
    assert queue.look() == {"77_0": "", "77_1": "", "77_2": "PartitionTimeLimit"}
    assert len(commands.calls("squeue")) == 1
    commands("squeue", code=1, error="slurm_load_jobs error: Unable to contact slurm controller")
    assert queue.look() is None


@pytest.mark.parametrize(
    ("state", "again"), [("TIMEOUT", True), ("NODE_FAIL", True), ("CANCELLED", False), ("OUT_OF_MEMORY", False)]
)
def test_the_ending_of_a_job_has_its_state_and_the_end_of_its_log(queue, commands, tmp_path, state, again):
    queue.submit([[]])
    commands("scontrol", f"JobId=77 JobState={state} Reason=x")
    (tmp_path / "logs" / "77_0_log.out").write_text("Killed\n")
    ending = queue.ending("77")
    assert (ending.state, ending.log, ending.again) == (state, "Killed", again)
    assert ending.path.endswith("77_0_log.out")


def test_the_state_comes_from_the_accounts_when_slurm_has_forgotten_the_job(queue, commands):
    queue.submit([[]])
    commands("scontrol", code=1)
    commands("sacct", "TIMEOUT\n")
    assert queue.ending("77").state == "TIMEOUT"


def test_jobs_of_a_killed_run_are_cancelled_once_and_those_of_others_are_left(tmp_path, store, commands):
    for run in ("dead", "alive", "damaged"):
        (tmp_path / run).mkdir()
    here = Presence.of_this_process("0" * 32, time.time(), ())
    (tmp_path / "alive" / RUN_FILE).write_bytes(here.to_bytes())
    gone = Presence("0" * 32, here.host, here.machine, here.pid, here.began + 1, here.time, ())
    (tmp_path / "dead" / RUN_FILE).write_bytes(gone.to_bytes())
    (tmp_path / "damaged" / RUN_FILE).write_bytes(b"{")
    with store.drive():
        assert cancel_orphans(tmp_path, store) == 1
        assert cancel_orphans(tmp_path, store) == 0
    assert {line.split()[3] for line in commands.calls("scancel")} == {"ticketdiet-dead"}


def test_jobs_are_asked_to_save_their_state_before_they_are_ended(queue, commands):
    pauses = []
    queue._pause = pauses.append
    queue.cancel()
    assert [call.split()[-1] for call in commands.calls("scancel")] == ["--state=PENDING", "--signal=TERM"]
    commands("squeue", "77|RUNNING|None\n")
    queue.cancel()
    assert len(pauses) == submitit_queue.SECONDS_TO_SAVE
    assert commands.calls("scancel")[-1].split()[-1] == "ticketdiet-abc"
    queue.cancel("77")
    assert commands.calls("scancel")[-1] == "77"


def test_a_bucket_has_its_jobs_beside_the_command_and_a_folder_inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    assert slurm._jobs_folder(store) == Path(os.getcwd(), "ticketdiet-jobs")
    assert slurm._jobs_folder(store, "elsewhere") == Path(os.getcwd(), "elsewhere")
    assert slurm._jobs_folder(ResultStore.open("runs")) == Path(os.getcwd(), "runs", "jobs")
