"""A benchmark says where it ran; times are for who runs it by hand."""

import importlib
import json
import runpy
from pathlib import Path

import pytest
import torch

from ticketdiet.core.cpu import cpu_model

FOLDER = Path(__file__).parents[1] / "benchmarks"
MACHINE = runpy.run_path(str(FOLDER / "machine.py"))
BENCHMARKS = [path.name for path in sorted(FOLDER.glob("*.py")) if path.name != "machine.py"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_prints_the_machine(name):
    assert "print(machine.in_words(" in (FOLDER / name).read_text(encoding="utf-8")


def test_the_machine_in_words_has_all_that_a_time_depends_on(monkeypatch):
    MACHINE["facts"]()  # oneDNN reads its limit once, and would keep this one for the tests that follow
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    line, facts = MACHINE["in_words"](3), json.loads(json.dumps(MACHINE["facts"](3)))
    capability = torch.backends.cpu.get_cpu_capability()
    for part in (cpu_model(), capability, "oneDNN up to AVX2", "bfloat16", "3 threads", f"torch {torch.__version__}"):
        assert part in line
    assert (facts["capability"], facts["threads"], facts["torch"]) == (capability, 3, torch.__version__)


STEPS = {"dense": 100.0, "1.0": 120.0, "0.2": 50.0, "0.1": 40.0, "0.05": 25.0, "0.035": 20.0}


@pytest.fixture
def run_all(monkeypatch):
    """The module that ``make bench`` runs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("run_all")


def test_the_figures_of_sparse_steps_are_ratios_of_one_run_beside_their_goals(run_all):
    found = run_all.figures_of("sparse_speed", {"results": {"1": {"milliseconds": {"resnet20": STEPS}}}})
    rows = [(figure.name, figure.value, figure.unit, figure.goal) for figure in found]
    assert rows[0] == ("resnet20, 1 thread(s): dense step", 100.0, "ms", None)
    assert ("resnet20, 1 thread(s): step at density 0.05", 4.0, "x", 3.0) in rows


def test_the_figures_of_growth_are_those_of_the_largest_study_beside_their_goals(run_all):
    results = [{"stages": 95, "seconds": {"plan": 0.1}}, {"stages": 9905, "seconds": {"plan": 1.5, "status": 4.0}}]
    rows = [(figure.name, figure.value, figure.goal) for figure in run_all.figures_of("growth", {"results": results})]
    assert rows == [("9,905 stages: plan", 1.5, 5.0), ("9,905 stages: status", 4.0, None)]


def test_the_figures_of_commands_on_a_finished_study_are_beside_their_goals(run_all):
    found = {"seconds": {"open the store": 0.1}, "commands": {"run quickstart": 1.5, "--help": 0.1}}
    rows = [(figure.name, figure.value, figure.goal) for figure in run_all.figures_of("study_speed", found)]
    assert rows == [
        ("finished study: open the store", 0.1, None),
        ("finished study: `ticketdiet run quickstart`", 1.5, 2.0),
        ("finished study: `ticketdiet --help`", 0.1, 0.5),
    ]


def test_the_table_has_the_run_before_beside_this_one(run_all):
    figures = [run_all.Figure("one", 2.0, "x", 1.5), run_all.Figure("two", 0.25, "s")]
    heading, one, two = run_all.table(figures, {"one": 1.9})
    assert heading.split() == ["now", "before", "goal"]
    assert one.split() == ["one", "2.00", "x", "1.90", "x", "1.5", "x"]
    assert two.split() == ["two", "0.25", "s"]


def test_what_make_bench_runs_is_there_and_ends_with_json(run_all):
    for name in run_all.BENCHMARKS:
        assert "print(json.dumps(" in (FOLDER / f"{name}.py").read_text(encoding="utf-8")
