"""Studies on a real Slurm; ``scripts/one_node_slurm.sh`` starts one on this machine and runs these tests on it."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from time import sleep

import pytest

from ticketdiet.core.errors import StagesFailed, UserError
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors.slurm import Slurm
from ticketdiet.studies.run import run_plan

# Slow until its job was queued again, then killed once, then ordinary. Outside of jobs it is ordinary.
NETS = textwrap.dedent("""
    import os, signal, time
    from pathlib import Path
    from torch import nn

    class Unlucky(nn.Sequential):
        steps = 0

        def forward(self, images):
            if self.training and "SLURM_JOB_ID" in os.environ:
                self.steps += 1
                self.suffer(Path(os.environ["MARKS_OF_THE_TEST"]))
            return super().forward(images)

        def suffer(self, marks):
            if os.environ.get("SLURM_RESTART_COUNT", "0") == "0" and not (marks / "killed").exists():
                time.sleep(3)
            elif not (marks / "killed").exists() and self.steps > 2:
                (marks / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

    def unlucky():
        return Unlucky(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
""")


def answers():
    has_settings = "SLURM_CONF" in os.environ or Path("/etc/slurm/slurm.conf").exists()
    if not has_settings or shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "-h"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not answers(), reason="no Slurm answers here; scripts/one_node_slurm.sh starts one"),
]


def test_a_study_on_slurm_has_the_bits_of_one_here(plan_tiny, store, alone, contents):
    plan = plan_tiny("children=2")
    assert run_plan(plan, store, executor=Slurm({"time": "5m"}), threads=1).made == len(plan.stages)
    assert contents(store, plan) == alone(plan)
    assert not list(Path(store.url, "jobs").iterdir())


def test_a_wrong_partition_is_refused_in_the_words_of_slurm(plan_tiny, store):
    with pytest.raises(UserError, match=r"(?i)invalid partition(.|\n)*sinfo"):
        run_plan(plan_tiny(), store, executor=Slurm({"partition": "nowhere"}))


def test_a_job_that_asks_for_more_time_than_there_is_does_not_wait_for_ever(plan_tiny, store):
    plan = plan_tiny("arms={none@0: {}}", "scores={}", "pruning.levels=0")
    with pytest.raises(StagesFailed, match=r"can never begin: Partition(TimeLimit|Config)"):
        run_plan(plan, store, executor=Slurm({"time": "7d", "partition": "short"}))
    assert queued() == ""


def queued():
    return subprocess.run(["squeue", "-h", "-o", "%i %j %T"], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_time_limit_and_a_killed_job_cost_time_and_no_bit(plan_tiny, store, alone, contents, tmp_path, monkeypatch):
    marks, networks = tmp_path / "marks", tmp_path / "networks"
    for folder in (marks, networks):
        folder.mkdir()
    (networks / "unlucky_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(networks)
    monkeypatch.setenv("PYTHONPATH", str(networks), prepend=":")
    monkeypatch.setenv("MARKS_OF_THE_TEST", str(marks))
    plan = plan_tiny("model={name: 'unlucky_nets:unlucky'}", "arms={none@0: {}}", "scores={}", "training.steps=30")
    executor = Slurm({"time": "2m", "save_seconds": 90})
    assert run_plan(plan, store, executor=executor, threads=1, save_every_seconds=1e9).made == len(plan.stages)
    assert (marks / "killed").exists()  # only a job that was queued again is killed
    assert contents(store, plan) == alone(plan)


def most_steps(jobs):
    """The steps of the stage that is furthest, as the jobs have noted them."""
    most = 0
    for note in jobs.glob("*/notes/*.steps"):
        with contextlib.suppress(FileNotFoundError):  # of a stage that was finished at this moment
            most = max(most, int(note.read_text()))
    return most


def test_a_stopped_run_takes_its_jobs_out_of_the_queue(tiny_file, tmp_path):
    study = tiny_file(tmp_path, "training.steps=1000000", "arms={none@0: {}}", "scores={}")
    command = [sys.executable, "-m", "ticketdiet", "run", str(study), "--store", "runs", "--executor", "slurm"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: "RUNNING" in queued())
        wait_until(
            lambda: most_steps(tmp_path / "runs" / "jobs") > 0
        )  # before the first step there is no state to save
        process.terminate()
        process.communicate()
    wait_until(lambda: queued() == "")
    assert list((tmp_path / "runs" / "partial").iterdir())
    assert not list((tmp_path / "runs" / "leases").iterdir())


def test_the_jobs_of_a_killed_run_are_cancelled_by_the_next(tiny_file, tmp_path, plan_tiny, contents, alone):
    settings = ("training.steps=1000", "arms={none@0: {}}", "scores={}", "pruning.levels=0")
    study = tiny_file(tmp_path, *settings)
    command = [sys.executable, "-m", "ticketdiet", "run", str(study), "--store", "runs", "--executor", "slurm"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: queued() != "")
        process.kill()
        process.communicate()
    (orphan,) = {line.split()[1] for line in queued().splitlines()} or {"ended already"}
    plan, store = plan_tiny(*settings), ResultStore.open(tmp_path / "runs")
    run_plan(plan, store, executor="slurm", threads=1)
    assert orphan not in queued()
    assert contents(store, plan) == alone(plan)


def wait_until(true):
    for _ in range(600):
        if true():
            return
        sleep(0.2)
    raise AssertionError("it never happened")
