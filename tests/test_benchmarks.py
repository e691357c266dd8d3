"""A benchmark says where it ran; times are for who runs it by hand."""

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
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    line, facts = MACHINE["in_words"](3), json.loads(json.dumps(MACHINE["facts"](3)))
    capability = torch.backends.cpu.get_cpu_capability()
    for part in (cpu_model(), capability, "oneDNN up to AVX2", "bfloat16", "3 threads", f"torch {torch.__version__}"):
        assert part in line
    assert (facts["capability"], facts["threads"], facts["torch"]) == (capability, 3, torch.__version__)
