"""Every shape of convolution that a network may hold, against float64, in processes that may die: minutes, by hand.

A finding is a case with wrong numbers, and a case that kills its process or never returns.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SWEEP = Path(__file__).with_name("convolution_sweep.py")
FAMILIES = ("pointwise", "large", "kernels", "groups", "other-dimensions", "transposed", "half")

pytestmark = pytest.mark.slow


def findings(family, threads, mode, environment):
    found, first = [], 0
    while True:
        process = subprocess.run(
            [sys.executable, SWEEP, family, str(first), str(threads), mode],
            env=environment | {"OMP_WAIT_POLICY": "PASSIVE"},  # threads that spin make short cases very long
            capture_output=True,
            text=True,
            check=False,
        )
        started: Any = None
        for line in map(json.loads, process.stdout.splitlines()):
            if "case" in line:
                started = line
                continue
            if not line["right"]:
                found.append((started["case"], line["error"]))
            started = None
        if process.returncode == 0:
            return found
        assert started is not None, process.stderr
        found.append((started["case"], f"exit code {process.returncode}"))
        first = started["number"] + 1


@pytest.mark.parametrize("capped", [False, True], ids=["own-cpu", "avx2"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_convolutions_and_their_gradients_are_right_as_the_package_computes_them(
    family, threads, capped, child_environment
):
    assert not findings(family, threads, "guarded", child_environment(capped=capped))


@pytest.mark.parametrize("capped", [False, True], ids=["own-cpu", "avx2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_needs_no_guard(family, capped, child_environment):
    assert not findings(family, 1, "forward", child_environment(capped=capped))
