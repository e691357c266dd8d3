from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ticketdiet.training.arithmetic import reproducible
from ticketdiet.training.evaluation import autocast


def settings():
    backends: Any = torch.backends
    memory: Any = torch.utils.deterministic
    return (
        backends.cudnn.conv.fp32_precision,
        backends.cuda.matmul.fp32_precision,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        memory.fill_uninitialized_memory,
    )


def test_on_the_cpu_nothing_is_set():
    before = settings()
    with reproducible(torch.device("cpu")):
        assert settings() == before


def test_for_a_gpu_float32_is_proper_and_algorithms_are_deterministic_inside_the_block_alone(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = settings()
    with autocast(torch.device("cuda"), "float32"):
        assert settings() == ("ieee", "ieee", True, False, True, False)
    assert settings() == before


@pytest.mark.cuda
def test_a_convolution_on_a_gpu_has_the_precision_of_float32():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 64, 16, 16, generator=generator)
    weight = torch.randn(64, 64, 3, 3, generator=generator)
    expected = F.conv2d(images.double(), weight.double(), padding=1)
    with reproducible(torch.device("cuda")):
        found = F.conv2d(images.cuda(), weight.cuda(), padding=1).cpu().double()
    assert (found - expected).norm() / expected.norm() < 1e-5
