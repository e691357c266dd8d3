"""A run goes on without its terminal, shows in ``status``, and ends in order with ``cancel``."""

import json
import os
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ticketdiet.cli.main import app
from ticketdiet.core.errors import UnknownName
from ticketdiet.store.presence import Presence, _process_began, parse_presence
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.cancelling import cancel_runs

LONG = ("scores={}", "arms={none@0: {}}", "pruning.levels=0", "training.steps=1000000", "model={name: 'gated:make'}")
# A network that says through a pipe when a stage trains it, so that no clock has to.
GATED = textwrap.dedent("""
    from pathlib import Path
    from torch import nn

    class Gated(nn.Sequential):
        told = False

        def forward(self, images):
            if self.training and not self.told and any(Path("runs/leases").glob("*")):
                self.told = True
                Path("gate").write_text("it trains")
            return super().forward(images)

    def make():
        return Gated(nn.Flatten(), nn.Linear(64, 10))
""")


@pytest.fixture
def folder(tmp_path, tiny_file, monkeypatch):
    tiny_file(tmp_path, *LONG)
    (tmp_path / "gated.py").write_text(GATED)
    os.mkfifo(tmp_path / "gate")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def command(folder, monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ticketdiet", *arguments])
        return CliRunner().invoke(app, arguments)

    return call


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="cannot tell a process from one that has just ended")
def test_a_detached_run_is_shown_and_cancelled_with_its_state_saved(folder, command):
    gate = os.open(folder / "gate", os.O_RDONLY | os.O_NONBLOCK)
    begun = command("run", "tiny.yaml", "--store", "runs", "--workers", "1", "--threads", "1", "--detach")
    assert begun.exit_code == 0, begun.output
    (log,) = (folder / "state" / "ticketdiet" / "logs").iterdir()
    assert str(log) in begun.output
    assert "ticketdiet cancel tiny.yaml --store runs" in begun.output
    assert select.select([gate], [], [], 120)[0], log.read_text()
    os.close(gate)
    store = ResultStore.open("runs")
    (run,) = store.drivers()
    assert (run.study, run.executor, run.log, run.stoppable) == ("tiny", "local", str(log), True)
    (held,) = store.held()
    assert str(log) in command("status", "tiny", "--store", "runs").output
    ended = command("cancel", "tiny", "--store", "runs")
    assert (ended.exit_code, ended.output) == (0, f"Ended {run.label}.\n")
    assert store.drivers() == []
    assert store._place.children("leases") == []
    assert store.load_partial(held) is not None
    assert "run the same command again" in log.read_text()
    again = command("cancel", "tiny", "--store", "runs")
    assert (again.exit_code, again.output) == (0, f"No run of tiny goes on in {store.url}.\n")


def test_what_a_detached_run_says_to_type_means_the_same_stages(folder, command, monkeypatch):
    begun = []
    monkeypatch.setattr(
        "ticketdiet.cli.detaching.start_detached", lambda _typed, _study, options: begun.append(options)
    )
    overrides = ("--set", "training.milestones=[1, 2]", "--set", "replicates=1", "--limit-arms", "none@0")
    command("run", "tiny.yaml", *overrides, "--store", "runs", "--detach")
    assert begun == [["tiny.yaml", *overrides, "--store", "runs"]]


def test_a_detached_run_that_cannot_begin_says_so_at_once(folder, command):
    refused = command("run", "tiny.yaml", "--executor", "slrum", "--detach")
    assert isinstance(refused.exception, UnknownName)
    assert not (folder / "state").exists()


class TestCancelling:
    def announce(self, store, plan, **changes):
        found = {"study": plan.study.study, "stoppable": True, "machine": "another", "host": "far"} | changes
        own = Presence.of_this_process("0" * 32, 0.0, tuple(plan.stages))
        made = Presence(**{**own.__dict__, **found})
        store._place.replace(f"drivers/{made.driver}.json", made.to_bytes())

    @pytest.fixture
    def store(self, tmp_path):
        return ResultStore.open(tmp_path / "store")

    def test_runs_elsewhere_of_other_studies_and_in_programs_are_left_alone(self, store, plan_tiny):
        plan = plan_tiny()
        here = Presence.of_this_process("0" * 32, 0.0, ())
        self.announce(store, plan, driver="1" * 32)
        self.announce(store, plan, driver="2" * 32, machine=here.machine, host=here.host, stoppable=False)
        self.announce(store, plan, driver="3" * 32, machine=here.machine, host=here.host)  # this very process
        self.announce(store, plan, driver="4" * 32, study="another")
        self.announce(store, plan, driver="5" * 32, reaches=("f" * 24,))
        found = cancel_runs(store, plan)
        assert (found.ended, found.running) == ((), ())
        assert found.elsewhere == (f"process {here.pid} on far",)
        assert found.programs == (here.label, here.label)

    def test_a_run_that_does_not_end_in_time_is_named(self, store, plan_tiny):
        plan = plan_tiny()
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"deaf\n"
            here = Presence.of_this_process("0" * 32, 0.0, ())
            began = _process_began(process.pid) or 0
            self.announce(store, plan, machine=here.machine, host=here.host, pid=process.pid, began=began)
            waited = []
            found = cancel_runs(store, plan, patience=3.0, pause=waited.append, clock=lambda: float(len(waited)))
            assert len(waited) == 3
            assert found.running == (f"process {process.pid} on {here.host}",)
            process.kill()


def test_a_document_of_an_earlier_version_has_no_study_and_is_not_stoppable():
    body = json.loads(Presence.of_this_process("0" * 32, 0.0, ()).to_bytes())
    for name in ("study", "executor", "log", "stoppable"):
        del body[name]
    found = parse_presence(json.dumps(body).encode(), "0" * 32)
    assert (found.study, found.executor, found.log, found.stoppable) == ("", "", "", False)
