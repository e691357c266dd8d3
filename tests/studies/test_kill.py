"""A study that is killed with SIGKILL again and again ends with the bits of one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest

from ticketdiet.store.results import ResultStore
from ticketdiet.studies.run import stages_left

KILLS = 20
SETTINGS = ["children=2", "arms.none@0.pruning.levels=1"]

# The child says when it is about to train, so that kills fall into the work and not into the start of Python.
RUN = textwrap.dedent("""
    import sys
    import torch
    torch.set_num_threads(1)
    from ticketdiet.store.results import ResultStore
    from ticketdiet.studies.load import load_spec
    from ticketdiet.studies.plan import plan_study
    from ticketdiet.studies import run
    plan = plan_study(load_spec(sys.argv[1]))
    store = ResultStore.open(sys.argv[2])
    print("ready", flush=True)
    class Tell(run.RunObserver):
        def started(self, stage):
            print("stage", flush=True)
    run.run_plan(plan, store, workers=1, threads=1, save_every_seconds=0.0, observer=Tell())
    print("done", flush=True)
""")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_twenty_kills_change_no_bit(tiny_file, plan_tiny, tmp_path, run_tiny, contents):
    study, plan = tiny_file(tmp_path, *SETTINGS), plan_tiny(*SETTINGS)
    undisturbed = ResultStore.open(tmp_path / "undisturbed")
    run_tiny(plan, undisturbed)

    store = ResultStore.open(tmp_path / "killed")
    rng = random.Random(0)
    kills = 0
    for _ in range(200):
        if _run_and_kill(study, store.url, rng):
            kills += 1
        for address in plan.stages:
            assert store.check(address).state != "damaged"
        if not stages_left(plan, store):
            if kills >= KILLS:
                break
            for address in rng.sample(sorted(plan.stages), len(plan.stages) // 2):
                store.discard(address)
    assert kills >= KILLS
    assert contents(store, plan) == contents(undisturbed, plan)


def _run_and_kill(study, url, rng):
    """Run the study in a process; kill it a random moment into a random stage. False: it got done."""
    command = [sys.executable, "-c", RUN, str(study), url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        stages = rng.randint(1, 4)
        for line in process.stdout:
            stages -= line.strip() == "stage"
            if line.strip() == "done":
                return False
            if stages == 0:
                break
        try:
            process.wait(timeout=rng.uniform(0.0, 0.25))
            return False
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
