"""What float32 means on a GPU, and that the same work gives the same bits there.

PyTorch computes convolutions in TF32 on NVIDIA GPUs since Ampere unless told otherwise: ten bits of mantissa under the
name of float32, an error of 3e-4 where float32 has 1e-6. A number of this package that says float32 was computed in
float32. The CPU needs none of this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch

from ticketdiet.training.modes import Precision

_EXACT = "ieee"
_CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def layout_for(device: torch.device, precision: Precision) -> torch.memory_format:
    """Return the order of images and weights in memory that convolutions are fastest in.

    Everywhere channels come last, except in float32 proper on CUDA: cuDNN's deterministic kernels took 1.25 times as
    long there with channels last, ResNet-14 and ResNet-20 on an H200, and in bfloat16 half as long.

    Args:
        device: Where the work is done.
        precision: Precision of the forward pass.
    """
    plain = device.type == "cuda" and precision == "float32"
    return torch.contiguous_format if plain else torch.channels_last


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper and by deterministic algorithms on CUDA inside the block; elsewhere do nothing.

    An operation of which CUDA has no deterministic form still runs, and PyTorch warns of it: the same training may
    then give other last bits.

    Args:
        device: Where the work is done.
    """
    if device.type != "cuda":
        yield
        return
    # PyTorch reads this when it first multiplies matrices; with other workspaces cuBLAS may sum in another order.
    os.environ.setdefault(_CUBLAS_WORKSPACE, ":4096:8")
    with ExitStack() as stack:
        stack.enter_context(_exact_float32())
        stack.enter_context(_deterministic())
        yield


@contextmanager
def _exact_float32() -> Iterator[None]:
    backends: Any = torch.backends  # its types do not list these
    places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = _EXACT
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


@contextmanager
def _deterministic() -> Iterator[None]:
    cudnn, memory = torch.backends.cudnn, cast(Any, torch.utils.deterministic)
    before = cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory
    algorithms = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # it would write to all memory that is taken
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = before
        torch.use_deterministic_algorithms(algorithms, warn_only=only_warned)
