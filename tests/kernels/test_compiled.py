"""How the kernels come to be: compiled once, cached, or not used for a reason that is said."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ticketdiet.kernels import compiled
from ticketdiet.kernels.compiled import kernels


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETDIET_CACHE", str(tmp_path))
    monkeypatch.delenv("TICKETDIET_KERNELS", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    compiled._kernels.cache_clear()
    quickly = tuple("-O0" if flag == "-O3" else flag for flag in compiled._COMMON)
    monkeypatch.setattr(compiled, "_COMMON", quickly)
    yield tmp_path
    compiled._kernels.cache_clear()


def fake_compiler(folder, monkeypatch, script):
    """Put a compiler first on the path that does what ``script`` says."""
    path = folder / "bin" / "c++"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")


def test_without_a_compiler_on_the_path_there_is_a_reason(own_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(own_cache))
    assert kernels().reason == "no C++ compiler (c++, g++ or clang++) is on the path"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("TICKETDIET_KERNELS", "off", "TICKETDIET_KERNELS=off"),
        ("TICKETDIET_KERNELS", "fast", "TICKETDIET_KERNELS is 'fast', not auto, avx2, generic or off"),
        ("CXX", "no-such-compiler -m64", "CXX names 'no-such-compiler -m64', which is not on the path"),
    ],
)
def test_what_the_environment_asks_for_is_a_reason(own_cache, monkeypatch, variable, value, reason):
    monkeypatch.setenv(variable, value)
    assert kernels().reason == reason


def test_a_compiler_that_fails_is_a_reason_and_leaves_nothing_behind(own_cache, monkeypatch):
    script = 'case "$*" in *-dM*) exit 0;; esac; echo "a.cpp:1: error: broken" >&2; exit 1'
    fake_compiler(own_cache, monkeypatch, script)
    assert kernels().reason == "c++ failed: a.cpp:1: error: broken"
    assert list((own_cache / "kernels").iterdir()) == []


def test_a_compiler_that_is_too_old_is_a_reason(own_cache, monkeypatch):
    fake_compiler(own_cache, monkeypatch, 'echo "error: unrecognized option -std=c++20" >&2; exit 1')
    assert kernels().reason == "c++ does not compile C++20: error: unrecognized option -std=c++20"


def test_a_library_that_cannot_be_loaded_is_a_reason(own_cache, monkeypatch):
    script = 'case "$*" in *-dM*) exit 0;; esac; for last; do :; done; echo nonsense > "$last"'
    fake_compiler(own_cache, monkeypatch, script)
    assert kernels().library is None
    assert "cannot be kept or loaded" in kernels().reason


def test_a_cache_that_cannot_be_written_is_a_reason(library, own_cache, monkeypatch):
    (own_cache / "file").write_text("")
    monkeypatch.setenv("TICKETDIET_CACHE", str(own_cache / "file"))
    assert "cannot be kept or loaded" in kernels().reason


def test_the_second_use_compiles_nothing_unless_the_library_is_damaged(library, own_cache, monkeypatch):
    assert kernels().library is not None
    (kept,) = (own_cache / "kernels").glob("*.so")
    compiled._kernels.cache_clear()
    compiles = []
    monkeypatch.setattr(compiled, "compile_to", lambda path, *_: compiles.append(path.write_bytes(b"nonsense")))
    assert kernels().library is not None
    assert not compiles
    damaged = own_cache / "damaged"
    damaged.write_bytes(kept.read_bytes()[:1000])
    os.replace(damaged, kept)  # another file: the one that is loaded stays whole
    compiled._kernels.cache_clear()
    assert kernels().library is None
    assert len(compiles) == 1


PROBE = """
import sys, ctypes, torch
from pathlib import Path
from ticketdiet.kernels import compiled
from ticketdiet.kernels.compiled import Kernels
library = compiled._load(Path(sys.argv[1]))
sys.path.insert(0, sys.argv[2])
from test_plans import PLAIN, Convolved
odd = {"stride": (2, 3), "kernel": (4, 2), "padding": (2, 1)}
for case in (PLAIN, PLAIN | odd, PLAIN | {"sides": (5, 5), "images": 3}):
    for threads in (1, 3):
        Convolved(library, case, threads)
import ticketdiet.kernels.network as network
from ticketdiet.kernels import bands
from ticketdiet.kernels.line import line_of
from ticketdiet.models.resnet import BasicBlock, ResNet
network.kernels = lambda: Kernels(library, target="sanitized")
torch.set_num_threads(2)
model = ResNet(BasicBlock, (1, 1), width=4)
mask = {name: (torch.rand(p.shape) < 0.4).float() for name, p in model.named_parameters() if p.dim() == 4}
for scratch in (bands.SCRATCH, 1):
    bands.SCRATCH = scratch
    for count in (17, 16):
        network.SparseNetwork(model.train(), mask, line_of(1.0))(torch.randn(count, 3, 9, 7)).sum().backward()
        with torch.no_grad():
            network.SparseNetwork(model, mask, line_of(1.0))(torch.randn(count, 3, 9, 7))
            network.SparseNetwork(model.eval(), mask, line_of(1.0))(torch.randn(count, 3, 9, 7))
print("clean")
"""


def test_the_sanitizers_find_nothing(library, tmp_path):
    compiler = compiled.find_compiler(os.environ.get("CXX", ""))
    flags = ("-march=native", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    path = tmp_path / "sanitized.so"
    try:
        compiled.compile_to(path, compiler, flags)
    except compiled._NotBuilt as error:
        pytest.skip(f"the compiler has no sanitizers: {error}")
    runtime = subprocess.run([*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("the sanitizers' runtime is not a shared library here")
    environment = os.environ | {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", PROBE, str(path), str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "clean" in run.stdout


def test_a_forked_child_computes_with_threads_of_its_own(library, tmp_path):
    script = (
        "import os, torch\n"
        "from ticketdiet.kernels.compiled import kernels\n"
        "from ticketdiet.kernels.blocks import Blocks\n"
        "from ticketdiet.kernels.calls import Calls\n"
        "calls, images = Calls(kernels().library, 2), torch.randn(64, 2, 8, 8)\n"
        "def whole():\n"
        "    into, back = Blocks.zeros(64, 2, 8, 8), torch.empty(64, 2, 8, 8)\n"
        "    calls.enter(images, into)\n"
        "    calls.leave(into, back)\n"
        "    return torch.equal(back, images)\n"
        "assert whole()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if whole() else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert whole()\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr


def test_nothing_is_logged_when_all_is_well(library, caplog):
    with caplog.at_level(logging.DEBUG):
        assert kernels().library is not None
    assert not caplog.records
