import copy
import functools
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.landscape.curvature import curvature_operator
from ticketdiet.landscape.gradient_agreement import gradient_agreement
from ticketdiet.models.build import build_model
from ticketdiet.scores.gradient_norms import gradient_norms
from ticketdiet.tickets.search import find_ticket
from ticketdiet.tickets.sensitivity import snip_scores
from ticketdiet.training.batches import prepare
from ticketdiet.training.convolutions import safe_convolutions
from ticketdiet.training.loop import train
from ticketdiet.training.recipe import Recipe

RECIPE = Recipe(steps=3, batch_size=8, lr=0.05, crop_padding=1, precision="float32", sparse_kernels="off")
CHILD = Path(__file__).with_name("narrow_training.py")


class KernelsThatRun(TorchDispatchMode):
    """Notes every convolution, forward and backward, as (weight's shape, stride, padding, groups, transposed).

    A forward pass without gradients is not at risk, and is left out: BatchNorm is recalibrated in such passes.
    """

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and torch.is_grad_enabled():
            self.seen.append((args[1].shape, args[3], args[4], args[8], args[6]))
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append((args[2].shape, args[4], args[5], args[9], args[7]))
        return func(*args, **(kwargs or {}))

    def at_risk(self):
        """Those that oneDNN computes with too small a workspace: its conditions, less those on size and layout."""
        return [
            (weight, stride, padding, groups)
            for weight, stride, padding, groups, _ in self.seen
            if tuple(weight[2:]) == (1, 1) and weight[1] < 16 and max(stride) > 1 and max(padding) == 0 and groups == 1
        ]


class Narrow(nn.Module):
    """A user's own: such convolutions in a layer, in a function, and in layers that backward runs again."""

    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.layer = nn.Conv2d(3, 3, 1, stride=(1, 2), bias=False)
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
        self.again = nn.Conv2d(4, 6, 1, stride=2)
        self.up = nn.ConvTranspose2d(6, 5, 1, stride=2, output_padding=1)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = F.conv2d(self.layer(x).relu(), self.weight, stride=(2, 1)).relu()
        x = checkpoint(self.again, x, use_reentrant=self.reentrant)
        return self.head(self.up(x).relu().mean((2, 3)))


class Plain(nn.Sequential):
    """The same shapes in layers only, each of which runs once: what every analysis takes."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 3, 1, stride=2),
            nn.ReLU(),
            nn.Conv2d(3, 6, 1, stride=(2, 1)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48, 4),
        )


def seeded(make, *arguments, **keywords):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return make(*arguments, **keywords)


def prepared(images):
    return prepare(images.pixels, images), images.labels


def trained(images, make):
    return train(make(), images, RECIPE, seeds=RunSeeds.of(0, 0))


PASSES = {
    "training": trained,
    "find_ticket": lambda images, make: find_ticket(make(), images, images, recipe=RECIPE, levels=1),
    "GraNd in closed form": lambda images, make: gradient_norms(make(), *prepared(images)),
    "GraNd of one example": lambda images, make: gradient_norms(make(), *prepared(images), chunk=1),
    "GraNd by torch.func": lambda images, make: gradient_norms(make(), *prepared(images), method="func"),
    "agreement": lambda images, make: gradient_agreement(
        make(), images, {"all": np.arange(len(images))}, batches=2, batch_size=8
    ),
    "SNIP": lambda images, make: snip_scores(make(), images),
    "Hessian": lambda images, make: _product(make(), images, "hessian"),
    "GGN": lambda images, make: _product(make(), images, "ggn"),
}


def _product(model, images, matrix):
    operator = curvature_operator(model, model.state_dict(), images, matrix=matrix)
    return operator.multiply(np.ones(operator.dimension))


@pytest.mark.parametrize("make", [Plain, lambda: build_model("resnet8", width=3, num_classes=4)], ids=["own", "resnet"])
@pytest.mark.parametrize("name", PASSES)
def test_no_pass_with_gradients_runs_a_convolution_that_corrupts_memory(images, name, make):
    with KernelsThatRun() as kernels:
        PASSES[name](images, lambda: seeded(make))
    assert kernels.seen
    assert not kernels.at_risk()


@pytest.mark.parametrize("reentrant", [False, True])
def test_functions_and_layers_that_backward_runs_again_are_found_too(images, reentrant):
    with KernelsThatRun() as kernels:
        trained(images, lambda: seeded(Narrow, reentrant))
    assert any(transposed for *_, transposed in kernels.seen)
    assert not kernels.at_risk()


def test_a_weight_that_another_module_holds_or_makes_is_found_too(images):
    class Borrower(nn.Sequential):
        def forward(self, x):
            weight: Any = self.get_submodule("0.0").weight  # a parametrised weight is no parameter of the layer
            return super().forward(F.conv2d(F.conv2d(x, weight, stride=2), weight, stride=2))

    model = seeded(lambda: Borrower(nn.Sequential(nn.Conv2d(3, 3, 1)), nn.Flatten(), nn.Linear(12, 4)))
    weight_norm(model[0][0])
    with KernelsThatRun() as kernels:
        trained(images, lambda: model)
    assert not kernels.at_risk()


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("padding", [0, "valid", (0, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, (1, 2), (3, 2), [2]], ids=str)
def test_the_equal_form_is_the_convolution_in_value_and_first_and_second_gradient(stride, padding, groups):
    for size, dilation, has_bias in (((8, 8), 1, False), ((7, 9), 2, True), ((1, 4), (1, 2), True)):
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        compare(F.conv2d, options, has_bias, (6, 3 // groups, 1, 1), size)


@pytest.mark.parametrize("size", [(8, 8), (3, 1)])
@pytest.mark.parametrize("output_padding", [0, 1, (0, 1)])
@pytest.mark.parametrize(("stride", "dilation"), [(2, 1), ((2, 3), 1), ((1, 2), 2), (1, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_equal_form_is_the_transposed_convolution(stride, dilation, output_padding, groups, size):
    options = {"stride": stride, "dilation": dilation, "output_padding": output_padding, "groups": groups}
    if stride == (1, 2) and output_padding == 0:
        options["padding"] = (1, 0)
    for has_bias in (False, True):
        compare(F.conv_transpose2d, options, has_bias, (3, 2, 1, 1), size)


def compare(operation, options, has_bias, weight_shape, size):
    generator = torch.Generator().manual_seed(1)
    out = weight_shape[1] * options["groups"] if operation is F.conv_transpose2d else weight_shape[0]
    for batch in ((4,), ()):
        tensors = [
            torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
            for shape in ((*batch, 3, *size), weight_shape, *([(out,)] if has_bias else []))
        ]
        for given in (tensors[0], tensors[0].movedim(-3, -1).contiguous().movedim(-1, -3)):
            arguments = [given, *tensors[1:]]
            theirs = derivatives(operation, arguments, tensors, options)
            with safe_convolutions(nn.ParameterList([tensors[1]])):
                ours = derivatives(operation, arguments, tensors, options)
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def derivatives(operation, arguments, leaves, options):
    output = operation(*arguments, **options)
    first = torch.autograd.grad(output.pow(3).sum(), leaves, create_graph=True)
    return [output, *first, *torch.autograd.grad(sum(part.pow(2).sum() for part in first), leaves)]


def test_per_example_gradients_by_vmap_are_those_of_one_example_at_a_time(images):
    model, (inputs, labels) = seeded(Plain).double(), prepared(images)
    inputs, parameters = inputs.double()[:5], dict(model.named_parameters())

    def loss(parameters, x, y):
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    with safe_convolutions(model):
        found = vmap(grad(loss), (None, 0, 0))(parameters, inputs, labels[:5])
    for example in range(5):
        one = torch.autograd.grad(loss(parameters, inputs[example], labels[example]), list(parameters.values()))
        for a, b in zip(found.values(), one, strict=True):
            torch.testing.assert_close(a[example], b)


def test_in_bfloat16_too_the_result_is_that_of_the_plain_convolution():
    # Small images, where the plain form is right on every machine.
    model = seeded(nn.Conv2d, 3, 6, 1, stride=2)
    up = seeded(nn.ConvTranspose2d, 3, 6, 1, stride=2, output_padding=1)
    inputs = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for layer in (model, up):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            plain = layer(inputs)
            with safe_convolutions(layer):
                guarded = layer(inputs)
        assert guarded.dtype == plain.dtype == torch.bfloat16
        # The bias of a transposed convolution is added after one more rounding.
        torch.testing.assert_close(guarded, plain, rtol=2**-7, atol=2**-9)


def test_the_module_and_its_hooks_stay_what_they_are():
    model = seeded(Plain)
    seen, before = [], [vars(module).keys() for module in model.modules()]
    model[0].register_forward_hook(lambda layer, given, output: seen.append((given[0].shape, output.shape)))
    model[2].forward = own_forward = functools.partial(nn.Conv2d.forward, model[2])
    with safe_convolutions(model):
        model(torch.zeros(2, 3, 8, 8))
        assert type(model[0]) is nn.Conv2d
    assert seen == [((2, 3, 8, 8), (2, 3, 4, 4))]
    assert model[2].forward is own_forward
    del model[2].forward
    assert [vars(module).keys() for module in model.modules()] == before


def test_a_copy_made_meanwhile_is_a_network_of_its_own():
    model = seeded(Plain)
    with safe_convolutions(model):
        twin = copy.deepcopy(model)
    assert {type(module) for module in twin.modules()} == {type(module) for module in model.modules()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert twin.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(twin(torch.ones(2, 3, 8, 8)), seeded(Plain)(torch.ones(2, 3, 8, 8)))


@pytest.mark.parametrize("name", ["resnet20", "vgg16", "lenet_300_100", "lowres_resnet18"])
def test_networks_of_ordinary_width_run_bare(name):
    assert isinstance(safe_convolutions(build_model(name)), nullcontext)


def test_networks_elsewhere_than_on_the_cpu_run_bare():
    assert isinstance(safe_convolutions(nn.Conv2d(3, 6, 1, stride=2, device="meta")), nullcontext)


@pytest.mark.parametrize("capped", [False, True], ids=["own-cpu", "avx2"])
def test_narrow_networks_train_and_are_scored_without_corrupting_the_heap(capped, child_environment):
    child = subprocess.run(
        [sys.executable, CHILD], env=child_environment(capped=capped), capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
    errors = dict(line.rsplit(" ", 1) for line in child.stdout.splitlines())
    assert len(errors) == 13
    assert {name: error for name, error in errors.items() if float(error) > 1e-4} == {}
