"""Several runs of one study on one store divide the work, and removing what others do not need never takes theirs."""

import errno
import subprocess
import sys
import textwrap
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from ticketdiet.core.errors import StagesFailed, StoreError, UserError
from ticketdiet.landscape.rewind_search import ConnectedWhen
from ticketdiet.store.checking import Checker
from ticketdiet.store.drivers import Driver
from ticketdiet.store.results import ResultStore
from ticketdiet.studies.executors import local
from ticketdiet.studies.find_rewind import find_rewinding_point
from ticketdiet.studies.load import parse_study
from ticketdiet.studies.plan import plan_study
from ticketdiet.studies.run import RunObserver, stages_left

# Two chains that do not wait for each other, and a family of children.
ONE: dict[str, Any] = {"workers": 1, "threads": 1}
SETTINGS = ["scores={}", "arms={none@0: {}, all@4: {pretrain: {steps: 4}}}", "pruning.levels=1", "children=2"]

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
    sys.stdin.readline()
    class Tell(run.RunObserver):
        def started(self, stage):
            if sys.argv[3] == "holds":
                print("started", flush=True)
                sys.stdin.readline()
    print(run.run_plan(plan, store, workers=1, threads=1, observer=Tell()).made, flush=True)
""")


@pytest.fixture
def plan(tiny_text):
    return plan_study(parse_study(tiny_text, SETTINGS))


@pytest.fixture
def process(tiny_file, tmp_path, store):
    """Starts processes that wait for a line and then run the study on the store."""
    study, started = tiny_file(tmp_path, *SETTINGS), []

    def start(mode):
        command = [sys.executable, "-c", RUN, str(study), store.url, mode]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, **pipes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def go(process):
    print(file=process.stdin, flush=True)


def left_behind(store):
    return [entry.name for name in ("drivers", "leases", "tmp", "damaged") for entry in store._place.children(name)]


@pytest.fixture(scope="module")
def undisturbed(tiny_text, tmp_path_factory, run_tiny, contents):
    plan = plan_study(parse_study(tiny_text, SETTINGS))
    store = ResultStore.open(tmp_path_factory.mktemp("undisturbed"))
    run_tiny(plan, store)
    return contents(store, plan)


def test_three_processes_at_once_make_every_stage_once(process, plan, store, undisturbed, contents):
    runs = [process("runs") for _ in range(3)]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 3
    for run in runs:
        go(run)
    made = [int(run.stdout.readline()) for run in runs]
    assert [run.wait() for run in runs] == [0] * 3
    assert sum(made) == len(plan.stages)
    assert contents(store, plan) == undisturbed
    assert left_behind(store) == []


def test_the_stages_of_a_killed_run_are_taken_over_at_once(
    process, plan, store, undisturbed, monkeypatch, run_tiny, contents
):
    run = process("holds")
    assert run.stdout.readline() == "ready\n"
    go(run)
    assert run.stdout.readline() == "started\n"
    run.kill()
    run.wait()
    assert [entry.is_directory for entry in store._place.children("leases")] == [False]
    monkeypatch.setattr(Driver, "wait", None)  # it never has to
    assert run_tiny(plan, store).made == len(plan.stages)
    assert contents(store, plan) == undisturbed
    assert left_behind(store) == []


class Holds(RunObserver):
    """A run that waits in its first stage until it is told to go on."""

    def __init__(self):
        self.started_one, self.go_on = threading.Event(), threading.Event()

    def started(self, stage):
        self.started_one.set()
        assert self.go_on.wait(120)


class Notes(RunObserver):
    def __init__(self, when_waiting):
        self.made, self.adopts, self.waits, self._when_waiting = [], [], [], when_waiting

    def finished(self, stage, warnings):
        self.made.append(stage.address)

    def adopted(self, stage):
        self.adopts.append(stage.address)

    def waiting(self, stage, holder):
        self.waits.append((stage.address, holder))
        self._when_waiting()


def test_a_run_does_what_it_can_while_another_holds_a_stage_and_then_adopts_it(
    plan, store, undisturbed, run_tiny, contents
):
    holds, outcomes = Holds(), []
    other = threading.Thread(target=lambda: outcomes.append(run_tiny(plan, store, observer=holds)))
    other.start()
    assert holds.started_one.wait(120)
    notes = Notes(holds.go_on.set)
    outcomes.append(run_tiny(plan, store, observer=notes))
    other.join()
    held, holder = notes.waits[0]
    assert holder.startswith("process ")
    assert held in notes.adopts
    # Everything that does not need what the other held was made before there was any waiting.
    free = {address for address in plan.stages if held not in _needed(plan, address)}
    assert free <= set(notes.made)
    assert sum(outcome.made for outcome in outcomes) == len(plan.stages)
    assert all(outcome.made + outcome.kept == len(plan.stages) for outcome in outcomes)
    assert contents(store, plan) == undisturbed


def _needed(plan, address):
    needed = {address}
    for one in plan.stages[address].inputs.values():
        needed |= _needed(plan, one)
    return needed


class Interrupts(RunObserver):
    def started(self, stage):
        raise KeyboardInterrupt


def test_a_run_that_is_interrupted_or_fails_gives_its_leases_back(plan, plan_tiny, store, run_tiny):
    with pytest.raises(KeyboardInterrupt):
        run_tiny(plan, store, observer=Interrupts())
    assert left_behind(store) == []
    with pytest.raises(StagesFailed):
        run_tiny(plan_tiny("arms.all@4.training={lr: 1.0e+30}", "pruning.levels=0"), store)
    assert left_behind(store) == []


def test_a_machine_whose_disk_is_full_stops_alone_and_another_goes_on(
    plan, store, undisturbed, monkeypatch, run_tiny, contents
):
    """Two machines share a store: on one of them every write fails once three stages are made."""
    full = ResultStore.open(store.url)
    publish, written = full._place.publish, []

    def fail(directory, files, seal):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(directory)
        return publish(directory, files, seal)

    monkeypatch.setattr(full._place, "publish", fail)
    with pytest.raises(StoreError, match=r"The disk is full(.|\n)*finished results are kept"):
        run_tiny(plan, full)
    assert left_behind(store) == []
    assert run_tiny(plan, store).made == len(plan.stages) - 3
    assert contents(store, plan) == undisturbed


class Collects(RunObserver):
    """Removes, in the middle of a run, whatever no study needs."""

    def __init__(self, store):
        self.store, self.collected = store, []

    def started(self, stage):
        self.collected.append(self.store.collect((), dry_run=False, older_than=-10))


def test_collecting_garbage_takes_nothing_that_a_run_needs(plan, store, undisturbed, run_tiny, contents):
    collects = Collects(store)
    assert run_tiny(plan, store, observer=collects).made == len(plan.stages)
    assert all(found.addresses == () and found.drivers for found in collects.collected)
    assert contents(store, plan) == undisturbed
    found = store.collect((), dry_run=False)
    assert (len(found.addresses), found.drivers) == (len(plan.stages), ())


def test_a_search_for_the_rewinding_point_keeps_what_it_found_between_its_plans(tiny_text, store):
    study = parse_study(tiny_text, ["scores={}", "arms={none@0: {}, all@4: {pretrain: {steps: 4}}}"])
    options: dict[str, Any] = {"rule": ConnectedWhen(max_barrier=-1e9), "candidates": (0, 1, 2), **ONE}
    found = find_rewinding_point(study, store, observer=Collects(store), **options)
    assert len(found.answer.evidence) == 2
    assert all(store.has(address) for address in found.addresses.values())


def test_a_store_in_memory_is_refused_for_several_workers_and_worked_by_one_by_default(
    plan_tiny, monkeypatch, run_tiny
):
    monkeypatch.setattr(local, "default_workers", lambda *_, **__: 2)
    plan = plan_tiny("pruning.levels=0", "scores={}", "arms={none@0: {}}")
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(UserError, match=r"2 workers on the store memory://(.|\n)*--workers 1, or a folder"):
        run_tiny(plan, store, workers=2)
    assert store.addresses() == []
    monkeypatch.setattr(local, "Processes", None)
    assert run_tiny(plan, store, workers=None).made == len(plan.stages)
    assert stages_left(plan, store) == {}


def test_a_search_in_memory_is_worked_by_one_by_default(tiny_text, monkeypatch):
    monkeypatch.setattr("ticketdiet.studies.find_rewind._default_workers", lambda *_: 2)
    study = parse_study(tiny_text, ["scores={}", "arms={none@0: {}}"])
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    always = ConnectedWhen(max_barrier=1e9)
    assert find_rewinding_point(study, store, rule=always, candidates=(0,), threads=1).k == 0


def test_a_run_that_consumes_exchanged_weights_notices_and_mends_them(plan, undisturbed, run_tiny, contents):
    store = ResultStore.open(f"memory://{uuid.uuid4().hex}")
    run_tiny(plan, store)
    dense = [s for s in plan.stages.values() if s.kind == "level" and s.level == 0]
    one, other = (_weights_of(store, stage.address) for stage in dense[:2])
    place: Any = store._place
    files = place._files
    first, second = files.cat_file(one), files.cat_file(other)
    files.pipe_file(one, second)
    files.pipe_file(other, first)
    assert first != second
    # Their sizes are right and an object store keeps no times: only reading, or verify, tells.
    assert stages_left(plan, store) == {}
    assert {problem.address for problem in store.verify()} == {stage.address for stage in dense[:2]}
    for stage in plan.stages.values():
        if stage.inputs.get("previous") in (dense[0].address, dense[1].address):
            store.discard(stage.address)
    run_tiny(plan, store)
    assert store.verify() == []
    assert contents(store, plan) == undisturbed


def _weights_of(store, address):
    record = store.manifest(address).files["weights.safetensors"]
    return f"{store._place._root}/results/{address[:2]}/{address}/{record.path}"


def test_an_input_that_another_run_mends_meanwhile_is_no_failure(
    plan, store, undisturbed, monkeypatch, run_tiny, contents
):
    """One run reads a damaged input; before it looks again, another has set it aside and made it anew."""
    run_tiny(plan, store)
    level = next(s for s in plan.stages.values() if s.kind == "level" and "previous" in s.inputs)
    victim = level.inputs["previous"]
    path = next(Path(store.url).rglob(f"{victim}/weights.safetensors"))
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    store.discard(level.address)
    honest_check, honest_inspect = Checker.check, ResultStore.inspect
    overlooked = []

    def check(self, address):
        if address == victim and not overlooked:
            overlooked.append(address)
            return honest_check(self, next(iter(plan.stages)))
        return honest_check(self, address)

    def inspect(self, address):
        if address == victim:
            path.write_bytes(whole)
        return honest_inspect(self, address)

    monkeypatch.setattr(Checker, "check", check)
    monkeypatch.setattr(ResultStore, "inspect", inspect)
    assert run_tiny(plan, store).made == 1
    assert contents(store, plan) == undisturbed
