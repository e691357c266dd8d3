"""The whole way through submitit, with processes of this machine in the place of Slurm's jobs."""

import textwrap

import pytest

from ticketdiet.core.errors import StagesFailed
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors import jobs
from ticketdiet.studies.executors.slurm import Slurm
from ticketdiet.studies.run import RunObserver, run_plan

# A network whose first job is told to save its state and is queued again, whose second is killed, and which behaves
# from then on; and one that breaks. Outside of jobs, both are ordinary.
NETS = textwrap.dedent("""
    import os, signal
    from pathlib import Path
    from torch import nn

    class Troubled(nn.Sequential):
        steps = 0

        def forward(self, images):
            marks = os.environ.get("MARKS_OF_THE_TEST")
            if marks and self.training and "SUBMITIT_EXECUTOR" in os.environ:
                self.steps += 1
                self.trouble(Path(marks))
            return super().forward(images)

    class Stopped(Troubled):
        def trouble(self, marks):
            for name, step, number in (("told", 4, signal.SIGUSR2), ("killed", 6, signal.SIGKILL)):
                if not (marks / name).exists() and self.steps == step:
                    (marks / name).touch()
                    os.kill(os.getpid(), number)
                if not (marks / name).exists():
                    return

    class Broken(Troubled):
        def trouble(self, marks):
            raise ZeroDivisionError("this network divides by nothing")

    def layers():
        return nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)

    def stopped():
        return Stopped(*layers())

    def broken():
        return Broken(*layers())
""")
SETTINGS = ("arms={none@0: {}}", "scores={}", "pruning.levels=1", "training.steps=20")
OPTIONS = {"cluster": "local", "time": "10m", "threads": 1}


@pytest.fixture(autouse=True)
def networks(tmp_path, monkeypatch):
    """Networks that jobs can import, and queues that are looked at often."""
    folder = tmp_path / "networks"
    folder.mkdir()
    (folder / "troubled_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_NOTES", 0.1)
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_QUEUES", 0.2)


@pytest.fixture
def marks(tmp_path, monkeypatch):
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("MARKS_OF_THE_TEST", str(folder))
    return folder


class Counts(RunObserver):
    def __init__(self):
        self.steps = []

    def progressed(self, stage, step):
        self.steps.append(step)


def test_a_job_that_is_stopped_queued_again_and_killed_ends_with_the_bits_of_a_run_here(
    plan_tiny, store, marks, tmp_path, run_tiny, contents
):
    plan, counts = plan_tiny(*SETTINGS, "model={name: 'troubled_nets:stopped'}"), Counts()
    made = run_plan(
        plan, store, executor=Slurm(OPTIONS), observer=counts, save_every_seconds=0.0, devices=("cpu",)
    ).made
    assert made == len(plan.stages)
    assert sorted(mark.name for mark in marks.iterdir()) == ["killed", "told"]
    alone = ResultStore.open(tmp_path / "alone")
    run_tiny(plan, alone)
    assert contents(store, plan) == contents(alone, plan)
    assert counts.steps
    assert not list((tmp_path / "store" / "jobs").iterdir())


def test_a_stage_that_breaks_in_a_job_fails_with_its_traceback_and_its_log_stays(plan_tiny, store, marks, tmp_path):
    plan = plan_tiny(*SETTINGS, "model={name: 'troubled_nets:broken'}")
    with pytest.raises(StagesFailed) as caught:
        run_plan(plan, store, executor=Slurm(OPTIONS))
    message = str(caught.value)
    assert "ZeroDivisionError: this network divides by nothing" in message
    assert "troubled_nets.py" in message
    (log,) = (tmp_path / "store" / "jobs").glob("*/logs/*.out")
    assert str(log) in message
    assert not list((tmp_path / "store" / "jobs").rglob("*.pkl"))
    (failure,) = store.failed.read().values()
    assert "divides by nothing" in failure.message
