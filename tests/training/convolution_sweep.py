"""One process of the sweep over convolutions: forward pass and gradients of many shapes against float64.

``test_convolution_sweep.py`` starts it; by hand, from the root of the repository:

    python tests/training/convolution_sweep.py FAMILY FIRST_CASE THREADS MODE

MODE is ``guarded``, as the package computes; ``plain``, PyTorch as it is; or ``forward``, plain without gradients. One
line of JSON before each case and one after it: a case that kills the process, or never returns, has no second line.
"""

import itertools
import json
import signal
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ticketdiet.training.convolutions import safe_convolutions

SECONDS_PER_CASE = 30
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
NARROW = (*range(1, 18), 20, 24, 31, 33, 65, 130)
ODD = (1, 2, 3, 5, 7, 9, 13, 17)


@dataclass(frozen=True)
class Case:
    """A convolution of ``inputs`` to ``outputs`` channels on images of ``size``; kernel and so on one per dimension."""

    inputs: int
    outputs: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False
    layout: str = "channels-last"
    batch: int = 4
    bias: bool = False
    dtype: str = "float32"


def pointwise():
    strides, sizes = ((2, 2), (1, 2), (2, 1), (3, 3), (4, 2)), ((12, 12), (24, 36), (15, 17), (1, 24))
    for inputs, stride, size in itertools.product(NARROW, strides, sizes):
        for layout in ("contiguous", "channels-last", "inputs", "weights"):
            yield Case(inputs, 2 * inputs, size, (1, 1), stride, layout=layout)
    for inputs, side, batch in itertools.product(NARROW, (2, 32, 64), (1, 9)):
        yield Case(inputs, 2 * inputs, (side, side), (1, 1), (2, 2), batch=batch, bias=True)
    for inputs, outputs in itertools.product(NARROW, (1, 3, 64)):
        yield Case(inputs, outputs, (16, 16), (1, 1), (2, 2))
        yield Case(inputs, outputs, (14, 14), (1, 1), (2, 2), (1, 1))
        yield Case(inputs, outputs, (16, 16), (1, 1), (2, 2), dilation=(2, 2))
        yield Case(inputs, outputs, (16, 16), (1, 1), (1, 1))


def large():
    for inputs, size in itertools.product(
        (1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 20), ((128, 128), (224, 224), (96, 320))
    ):
        for stride in ((2, 2), (1, 2)):
            yield Case(inputs, 8, size, (1, 1), stride, batch=2)
        yield Case(inputs, 8, size, (3, 3), (2, 2), (1, 1), batch=2)


def kernels():
    shapes = ((3, 3), (2, 2), (1, 3), (3, 1), (5, 5))
    for inputs, kernel, stride in itertools.product(ODD, shapes, ((1, 1), (2, 2), (1, 2), (3, 1))):
        for layout, padding in itertools.product(("contiguous", "channels-last"), ((0, 0), (1, 1))):
            yield Case(inputs, inputs + 3, (16, 12), kernel, stride, padding, layout=layout)
        yield Case(inputs, 2 * inputs, (16, 12), kernel, stride, (2, 2), (2, 2), bias=True)


def groups():
    kernels = ((1, 1), (3, 3), (1, 3))
    for channels, kernel, stride in itertools.product(ODD, kernels, ((1, 1), (2, 2), (2, 1))):
        for layout, multiplier in itertools.product(("contiguous", "channels-last"), (1, 2, 3)):
            yield Case(
                channels, channels * multiplier, (16, 16), kernel, stride, (0, 0), groups=channels, layout=layout
            )
        for number in (2, 3):
            yield Case(channels * number, 3 * number, (16, 16), kernel, stride, groups=number)


def other_dimensions():
    for inputs, stride, kernel, layout in itertools.product(NARROW, (1, 2, 4), (1, 3), ("contiguous", "channels-last")):
        for length in (32, 4096):
            yield Case(inputs, 2 * inputs, (length,), (kernel,), (stride,), layout=layout)
    for inputs, kernel, layout in itertools.product(NARROW[:20], (1, 3), ("contiguous", "channels-last")):
        for steps in ((1, 1, 1), (2, 2, 2), (1, 2, 2), (1, 1, 2), (2, 1, 1)):
            yield Case(inputs, inputs + 1, (4, 8, 8), (kernel,) * 3, steps, layout=layout, batch=2)
        yield Case(inputs, 4, (1, 16, 16), (1, 1, 1), (1, 2, 2), layout=layout)
        yield Case(inputs, 4, (16, 32, 32), (1, 1, 1), (2, 2, 2), layout=layout, batch=1)


def transposed():
    for inputs, outputs, stride in itertools.product(ODD, ODD, ((1, 1), (2, 2), (1, 2))):
        for kernel, layout in itertools.product((1, 3), ("contiguous", "channels-last")):
            yield Case(inputs, outputs, (8, 8), (kernel,) * 2, stride, transposed=True, layout=layout)
    for inputs, outputs, size in itertools.product((3, 16), NARROW, (16, 64)):
        yield Case(inputs, outputs, (size, size), (1, 1), (2, 2), transposed=True, bias=True)


def half():
    for inputs, size in itertools.product(NARROW, ((12, 12), (32, 32), (15, 17))):
        for layout in ("contiguous", "channels-last"):
            yield Case(inputs, 2 * inputs, size, (1, 1), (2, 2), layout=layout, dtype="bfloat16")
    for inputs in NARROW:
        yield Case(inputs, 8, (128, 128), (1, 1), (2, 2), batch=2, dtype="bfloat16")


FAMILIES = {
    made.__name__.replace("_", "-"): made
    for made in (pointwise, large, kernels, groups, other_dimensions, transposed, half)
}


def laid_out(tensor, last):
    """Lay ``tensor`` out with channels last, or contiguous; of one channel, too, where both look alike to torch."""
    if not last:
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)


def convolve(case, inputs, weight, bias):
    dimensions = len(case.kernel)
    common = {"stride": case.stride, "padding": case.padding or 0, "dilation": case.dilation or 1}
    if case.transposed:
        # The output then has exactly ``stride`` times the size of the input, where the kernel is one place.
        more = {"output_padding": tuple(stride - 1 for stride in case.stride)}
        transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
        return transposed(inputs, weight, bias, groups=case.groups, **more, **common)
    operation = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    return operation(inputs, weight, bias, groups=case.groups, **common)


def drawn(case):
    """Input, weight and bias of a case, in float64 and contiguous."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float32).double()

    first, second = (case.inputs, case.outputs) if case.transposed else (case.outputs, case.inputs)
    inputs = normal(case.batch, case.inputs, *case.size)
    return inputs, normal(first, second // case.groups, *case.kernel), normal(case.outputs) if case.bias else None


def results(case, tensors, gradients):
    """Output and gradients of input, weight and bias, in the dtype and layout of ``tensors``."""
    if not gradients:
        with torch.inference_mode():
            return [convolve(case, *tensors)]
    leaves = [tensor.detach().requires_grad_() if tensor is not None else None for tensor in tensors]
    output = convolve(case, *leaves)
    at_output = torch.randn(output.shape, generator=torch.Generator().manual_seed(11)).to(output)
    present = [leaf for leaf in leaves if leaf is not None]
    return [output.detach(), *torch.autograd.grad((output * at_output).sum(), present)]


def worst_error(case, mode):
    """Largest error of the case against float64, relative to the largest number of the same tensor."""
    exact = drawn(case)
    dtype = getattr(torch, case.dtype)
    exact = [tensor if tensor is None else tensor.to(dtype).double() for tensor in exact]
    inputs, weight, bias = [tensor if tensor is None else tensor.to(dtype) for tensor in exact]
    inputs = laid_out(inputs, case.layout in ("channels-last", "inputs"))
    weight = laid_out(weight, case.layout in ("channels-last", "weights"))
    with safe_convolutions(nn.ParameterList([weight])) if mode == "guarded" else nullcontext():
        found = results(case, (inputs, weight, bias), mode != "forward")
    wanted = results(case, exact, mode != "forward")
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in zip(found, wanted, strict=True))


def main(family, first, threads, mode):
    """Run the cases of ``family`` from number ``first`` on; write what each gives."""
    torch.set_num_threads(int(threads))
    for number, case in itertools.islice(enumerate(FAMILIES[family]()), int(first), None):
        print(json.dumps({"number": number, "case": asdict(case)}), flush=True)
        signal.alarm(SECONDS_PER_CASE)  # it ends a process that spins in native code, too
        error = worst_error(case, mode)
        print(json.dumps({"number": number, "error": error, "right": error < TOLERANCE[case.dtype]}), flush=True)
    signal.alarm(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
