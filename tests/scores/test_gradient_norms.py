from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketdiet.core.errors import DataError
from ticketdiet.models.build import build_model
from ticketdiet.scores import gradient_norms as module
from ticketdiet.scores.gradient_norms import gradient_norms

from .conftest import SmallNet


def one_by_one(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    model = model.eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    norms = []
    for x, y in zip(inputs, labels, strict=True):
        parts = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), parameters)
        norms.append(torch.cat([part.flatten() for part in parts]).norm())
    return torch.stack(norms)


def _batch(*shape: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (shape[0],), generator=generator)
    return torch.randn(shape, generator=generator), labels


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(torch.tanh(self.body(x)))))  # type: ignore[no-any-return]


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 5, bias=False)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x * 1.0)
        out = self.body(x)
        x.detach().mul_(2.0)
        return self.head(out)  # type: ignore[no-any-return]


def _convolution(channels: int, out: int) -> nn.Module:
    """Strided, dilated and padded, differently in each direction."""
    return nn.Sequential(nn.Conv2d(channels, out, (3, 2), (2, 1), (1, 2), (1, 2)), nn.Flatten(), nn.LazyLinear(4))


CLOSED = {
    "linear with bias": (lambda: nn.Linear(5, 4), (6, 5)),
    "linear without bias": (lambda: nn.Linear(5, 4, bias=False), (6, 5)),
    "linear over places": (lambda: nn.Sequential(nn.Linear(5, 7), nn.Flatten(), nn.Linear(21, 4)), (6, 3, 5)),
    "convolution of many places": (lambda: _convolution(2, 3), (6, 2, 9, 7)),
    "convolution of few places": (lambda: _convolution(12, 16), (6, 12, 7, 5)),
    "convolution of very few places": (lambda: _convolution(12, 16), (6, 12, 1, 2)),
    "grouped convolution": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.Flatten(), nn.LazyLinear(4)),
        (11, 4, 5, 5),
    ),
    "batch norm over features": (lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)), (6, 5)),
    "residual network": (lambda: build_model("resnet8", num_classes=4, width=4), (6, 3, 12, 12)),
    "VGG-16": (lambda: build_model("vgg16", num_classes=4, width=4), (4, 3, 32, 32)),
}


@pytest.mark.parametrize("case", CLOSED.values(), ids=CLOSED.keys())
@pytest.mark.parametrize("method", ["closed", "func"])
def test_norms_match_one_backward_pass_per_example(
    case: tuple[object, tuple[int, ...]], method: Literal["closed", "func"]
) -> None:
    make, shape = case
    inputs, labels = _batch(*shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = make().eval()  # type: ignore[operator]
        model(inputs)
    norms = gradient_norms(model, inputs, labels, method=method, chunk=4)
    torch.testing.assert_close(norms, one_by_one(model, inputs, labels), rtol=2e-4, atol=1e-6)


def test_norms_match_in_float64(net: nn.Module) -> None:
    inputs, labels = _batch(8, 1, 8, 8)
    exact = one_by_one(net.double(), inputs.double(), labels)
    norms = gradient_norms(net, inputs.double(), labels, method="closed")
    torch.testing.assert_close(norms.double(), exact, rtol=1e-6, atol=0)


def test_frozen_parameters_are_left_out(net: SmallNet) -> None:
    inputs, labels = _batch(8, 1, 8, 8)
    for parameter in net.conv.parameters():
        parameter.requires_grad_(False)
    torch.testing.assert_close(gradient_norms(net, inputs, labels), one_by_one(net, inputs, labels), rtol=1e-4, atol=0)
    assert not net.conv.weight.requires_grad


@pytest.mark.parametrize(
    "model",
    [
        Tied(),
        nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 4)),
        Overwriting(),
    ],
    ids=["a layer that runs twice", "another kind of layer", "an input changed in place"],
)
def test_networks_beyond_the_closed_form_go_through_torch_func(model: nn.Module) -> None:
    inputs, labels = _batch(6, 5)
    with pytest.raises(DataError, match="The closed form does not hold"):
        gradient_norms(model, inputs, labels, method="closed")
    assert all(parameter.requires_grad for parameter in model.parameters())
    if not isinstance(model, Overwriting):
        norms = gradient_norms(model, inputs, labels)
        torch.testing.assert_close(norms, one_by_one(model, inputs, labels), rtol=1e-4, atol=1e-6)


def test_the_chunk_changes_nothing_but_rounding(net: nn.Module) -> None:
    inputs, labels = _batch(9, 1, 8, 8)
    whole, pieces = gradient_norms(net, inputs, labels, chunk=9), gradient_norms(net, inputs, labels, chunk=2)
    torch.testing.assert_close(whole, pieces)


def test_by_default_a_chunk_holds_more_of_smaller_examples(monkeypatch: pytest.MonkeyPatch, net: nn.Module) -> None:
    sizes = list[int]()
    whole = module._closed

    def closed(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        sizes.append(len(inputs))
        return whole(model, inputs, labels)

    monkeypatch.setattr(module, "_closed", closed)
    gradient_norms(net, *_batch(600, 1, 8, 8))
    gradient_norms(net, *_batch(60, 1, 128, 96))
    assert sizes == [512, 88, 32, 28]


def test_bfloat16_norms_are_near(net: nn.Module) -> None:
    inputs, labels = _batch(16, 1, 8, 8)
    near = gradient_norms(net, inputs, labels, precision="bfloat16")
    torch.testing.assert_close(near, one_by_one(net, inputs, labels), rtol=0.05, atol=0.05)
