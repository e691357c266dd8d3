"""The weight gradient of a strided 1x1 convolution of few channels, channels-last, corrupts the heap on x86 CPUs.

What it shows, in plain PyTorch: the backward pass of ``Conv2d(C, 2 * C, 1, stride=2)`` on channels-last images, with C
below the channel block of the kernel that oneDNN chooses (``jit_1x1``, prop_kind ``backward_weights``): 8 with AVX2, 16
with AVX-512. It writes outside the part of the scratchpad that holds the strided source: by its addresses each place
takes a whole block of channels, while the scratchpad is sized for C channels. Known to oneDNN as issue 6035
(uxlfoundation/oneDNN).

How to run: ``python pytorch-strided-1x1-conv.py``, on Linux. Each case is a process of its own, once with the CPU's own
kernels and once with kernels capped to AVX2. A line of the chosen kernels comes from ``ONEDNN_VERBOSE=1 python
pytorch-strided-1x1-conv.py 4 32 channels-last``.

Expected: every case prints an error below 1e-04 against float64.
Actual (PyTorch 2.14.1+cu130, oneDNN 3.12.0 at 80afa71, AMD EPYC with AVX-512, one thread): channels-last cases end with
SIGABRT ("free(): invalid pointer", "corrupted size vs. prev_size"), SIGSEGV or SIGBUS. With AVX2: C < 8, every size of
image. With AVX-512: C <= 8 at 64x64, C < 16 at 128x128; bfloat16 likewise. With several threads some cases hang. Right
are: C of a whole block or more, contiguous images and weights, stride 1, padding, groups. The transposed convolution
with output_padding = stride - 1 fails in the same way for few output channels.
"""

import os
import signal
import subprocess
import sys

import torch
from torch import nn

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}  # glibc then notices it at the next free()
CASES = [
    (channels, side, layout)
    for layout in ("channels-last", "contiguous")
    for side in (16, 64, 128)
    for channels in (1, 2, 4, 7, 8, 12, 16)
]


def weight_gradient(convolution: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the weight for a fixed gradient of the output."""
    output = convolution(images)
    weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
    return torch.autograd.grad(output, convolution.weight, weights.to(output))[0]


def one_case(channels: int, side: int, layout: str) -> None:
    """Print the largest error of the weight gradient against float64; or die."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    memory_format = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    worst = 0.0
    for _ in range(5):
        images = torch.randn(4, channels, side, side).to(memory_format=memory_format)
        convolution = nn.Conv2d(channels, 2 * channels, 1, stride=2, bias=False).to(memory_format=memory_format)
        found = weight_gradient(convolution, images)
        exact = weight_gradient(convolution.double(), images.double())
        worst = max(worst, float((found - exact).abs().max() / exact.abs().max()))
    print(f"error {worst:.0e}", flush=True)


def main() -> None:
    """Run every case in a process of its own and print how it ended."""
    print("PyTorch", torch.__version__, "on", torch.backends.cpu.get_cpu_capability())
    for kernels, cap in (("own kernels", {}), ("AVX2", AVX2)):
        for case in CASES:
            command = [sys.executable, __file__, *map(str, case)]
            ended = subprocess.run(
                command, env=os.environ | cap | CHECKED, capture_output=True, text=True, check=False, timeout=300
            )
            died = signal.Signals(-ended.returncode).name if ended.returncode < 0 else ""
            print(f"{kernels}, C = {case[0]}, {case[1]}x{case[1]}, {case[2]}:", died or ended.stdout.strip())


if __name__ == "__main__":
    if len(sys.argv) == 4:
        one_case(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        main()
