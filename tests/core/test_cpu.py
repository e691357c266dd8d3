import os
import subprocess
import sys

import pytest
import torch

from ticketdiet.core.cpu import cpu_model, has_bfloat16

X86 = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: Imaginary CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Another\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\n\nHardware\t: BCM2835\nModel\t: Board\n"


@pytest.mark.parametrize(("text", "name"), [(X86, "Imaginary CPU @ 3 GHz"), (ARM, "BCM2835")])
def test_the_model_of_the_cpu_is_read_from_what_linux_says_of_the_first_core(tmp_path, text, name):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_model(tmp_path / "cpuinfo") == name


@pytest.mark.parametrize("text", ["", "processor: 0\n", "model name\t:\n", "\x00\xff no lines"])
def test_where_linux_says_nothing_of_the_model_something_is_said_all_the_same(tmp_path, text):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_model(tmp_path / "cpuinfo") == cpu_model(tmp_path / "nowhere") != ""


def test_a_pytorch_that_cannot_say_whether_the_cpu_has_bfloat16_is_no_error(monkeypatch):
    assert has_bfloat16() in (True, False)
    monkeypatch.setattr(torch, "ops", object())
    assert has_bfloat16() is None


def test_under_the_cap_that_the_checks_use_kernels_are_those_of_avx2_and_bfloat16_is_gone():
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("the cap is for x86")
    script = "from ticketdiet.core import cpu; print(cpu.kernel_capability(), cpu.has_bfloat16(), cpu.onednn_limit())"
    capped = os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    said = subprocess.run([sys.executable, "-c", script], env=capped, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["AVX2", "False", "AVX2"]
