"""Two kinds of CPU in every check: what depends on kernels is marked, and ``make test`` runs it with AVX2 alone too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def collected(*arguments):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode in (0, 5), found.stdout + found.stderr  # 5: nothing is left
    return {line.partition("::")[0] for line in found.stdout.splitlines() if "::" in line}


def test_the_tests_that_depend_on_kernels_are_marked_and_others_are_not():
    paths = ["tests/training/test_engine.py", "tests/models/test_build.py", "tests/core/test_seeds.py"]
    assert collected("-m", "kernels", *paths) == set(paths[:2])
    assert collected("-m", "not kernels and not slow", *paths) == set(paths[2:])


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("capability", "again"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False)])
def test_make_test_runs_them_with_avx2_alone_where_there_is_more(tmp_path, capability, again):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    said = '"[$ATEN_CPU_CAPABILITY,$ONEDNN_MAX_CPU_ISA] $*"'
    python.write_text(f'#!/bin/sh\ncase "$*" in *capability*) echo {capability};; *) echo {said};; esac\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed-dev").touch()
    without = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "JOBS")}
    without = {name: value for name, value in without.items() if not name.startswith(("ATEN_", "ONEDNN_"))}
    ran = subprocess.run(["make", "test"], cwd=tmp_path, env=without, capture_output=True, text=True, check=True)
    runs = [line for line in ran.stdout.splitlines() if line.startswith("[")]
    first, *rest = runs
    assert first == "[,] -m pytest -n 2 -q"
    assert rest == (["[avx2,AVX2] -m pytest -n 2 -q -m kernels and not slow"] if again else [])
    assert again or f"The kernels here are {capability}" in ran.stdout
