import functools
import os

import pytest
import torch

from ticketdiet.core.values import Images


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (40,), generator=generator)
    return Images(pixels, labels, tuple("abcd"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture
def make_model(small_network):
    return functools.partial(small_network, width=6)


@pytest.fixture
def child_environment():
    """Makes the environment of a process in which heap corruption is noticed at the next ``free``, where glibc can.

    ``capped`` holds the kernels of torch and oneDNN to AVX2. Both read it when they start, hence the process.
    """

    def make(*, capped):
        environment = {**os.environ, "LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
        return environment | ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"} if capped else {})

    return make
