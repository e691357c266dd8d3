"""Strided 1x1 convolutions of few channels, computed in an equal form that does not corrupt memory.

oneDNN, which computes PyTorch's convolutions on x86 CPUs, writes outside its workspace in one of them: the gradient of
the weight of a strided 1x1 convolution, channels-last and unpadded, with fewer input channels than the kernel's block
(8 with AVX2; 16 with AVX-512, there on larger images, and in bfloat16 too). The process dies in malloc, hangs, or
trains on wrong numbers. Seen in PyTorch 2.14.1 (oneDNN 3.12.0), reported as oneDNN issue 6035;
``docs/dev/pytorch-strided-1x1-conv.py`` shows it. A transposed convolution with so few output channels is the same
computation with the roles exchanged, and fails alike.

A 1x1 convolution reads only every stride-th row and column, so taking those first and convolving them at stride 1 is
the same function. It was also the same to the bit wherever the strided form was right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ticketdiet.training.evaluation import device_of

# The largest block of channels of any of the kernels. Asking the machine for its own would make the numbers depend on
# the answer, and with it on what hides the real CPU: a virtual machine, or a cap on the instructions that are used.
CHANNEL_BLOCK = 16


def safe_convolutions(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context, to enter as often as needed, in which ``model`` may run forward and backward safely.

    Inside it, a ``conv2d`` or ``conv_transpose2d`` of the shape at risk is computed in the equal form, whoever calls
    it: a layer of any class, or a function in a module's own ``forward``. Hooks see what they always see. The backward
    pass belongs inside as well: ``torch.utils.checkpoint`` runs layers again in it.

    Only a network on the CPU that holds a narrow 1x1 weight is at risk; for any other the context does nothing, so that
    it costs nothing. Not recognised are a weight that is made by reshaping another parameter, a function that takes the
    weight of another module's layer or that ``torch.utils.checkpoint`` runs again, and what runs inside TorchScript.

    Args:
        model: Any network, on its device.
    """
    narrow = device_of(model).type == "cpu" and any(_is_narrow(p.shape) for p in model.parameters())
    return _SafeConvolutions(model) if narrow else nullcontext()


class _SafeConvolutions:
    """Equal forms in the modules that hold a narrow weight, and everywhere if one of them is not a layer."""

    def __init__(self, model: nn.Module) -> None:
        self._holders = [
            module for module in model.modules() if any(_is_narrow(p.shape) for p in module.parameters(recurse=False))
        ]
        # A mode costs microseconds for each operation inside it: a tenth of a step of a very small network.
        only_layers = all(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in self._holders)
        self._everywhere = nullcontext() if only_layers else _EqualForms()
        self._forwards: list[Any] = []

    def __enter__(self) -> None:
        self._forwards = [vars(module).get("forward") for module in self._holders]
        for module in self._holders:
            # During backward, torch turns a mode off but still calls this. Its copy by deepcopy is that of the copy.
            module.forward = functools.partial(_in_equal_forms, module.forward)
        self._everywhere.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._everywhere.__exit__(*exception)
        for module, forward in zip(self._holders, self._forwards, strict=True):
            if forward is None:
                del module.forward
            else:
                module.forward = forward


def _in_equal_forms(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with _EqualForms():
        return forward(*args, **kwargs)


def is_at_risk(
    weight: Sequence[int], stride: int | Sequence[int], padding: str | int | Sequence[int], groups: int
) -> bool:
    """Say whether the backward pass of such a convolution may corrupt memory.

    Args:
        weight: Shape of the weight; of a transposed convolution, too.
        stride: One, or one per dimension.
        padding: Likewise; or "valid".
        groups: Groups of channels. With more than one, another kernel is used.

    Returns:
        True for an unpadded, strided 1x1 convolution of few channels in two dimensions.
    """
    unpadded = padding == "valid" if isinstance(padding, str) else not any(_each(padding))
    return groups == 1 and _is_narrow(weight) and unpadded and max(_each(stride)) > 1


def _is_narrow(weight: Sequence[int]) -> bool:
    # In one dimension torch makes the layout contiguous itself, and in three oneDNN uses another kernel.
    return len(weight) == 4 and tuple(weight[2:]) == (1, 1) and weight[1] < CHANNEL_BLOCK


def _each(number: int | Sequence[int]) -> tuple[int, int]:
    """One number for both dimensions, or one for each, as torch takes them."""
    both = (number,) if isinstance(number, int) else tuple(number)
    return both[0], both[-1]


def places_read(images: Tensor, stride: int | Sequence[int]) -> Tensor:
    """Return the places of ``images`` (..., height, width) that a 1x1 convolution of ``stride`` reads, as a view."""
    down, right = _each(stride)
    if images.stride(-3) != 1:
        return images[..., ::down, ::right]
    # In this order the gradient, too, is channels-last: in another layout it slows down all that comes after it.
    return images.movedim(-3, -1)[..., ::down, ::right, :].movedim(-1, -3)


class _EqualForms(TorchFunctionMode):
    """Sends the convolutions at risk into their equal forms, and everything else where it was going."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        equal_form: Callable[..., Any] = _EQUAL_FORMS.get(func, func)
        return equal_form(*args, **(kwargs or {}))


# The arguments are those of the functions in torch.nn.functional, names and order included.


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if is_at_risk(weight.shape, stride, padding, groups):
        return F.conv2d(places_read(input, stride), weight, bias)
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    (down, right), (below, beside) = _each(stride), _each(output_padding)
    # More output padding than this is only taken together with a dilation, and is not at risk.
    spreads = below < down and beside < right
    if not (spreads and is_at_risk(weight.shape, stride, padding, groups)):
        return F.conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)
    dense = F.conv_transpose2d(input, weight)
    height, width = dense.shape[-2:]
    # Each place is followed by stride - 1 zeros in both directions; the last ones are cut down to output_padding.
    spread = F.pad(dense[..., :, None, :, None], (0, right - 1, 0, 0, 0, down - 1))
    spread = spread.flatten(-4, -3).flatten(-2, -1)
    spread = spread[..., : (height - 1) * down + 1 + below, : (width - 1) * right + 1 + beside]
    return spread if bias is None else spread + bias.to(spread.dtype)[:, None, None]


_EQUAL_FORMS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.conv2d: _conv2d,
    F.conv_transpose2d: _conv_transpose2d,
}
