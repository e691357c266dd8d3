"""Networks under a mask by the sparse kernels, beside the same networks by torch."""

import copy
import functools
import logging

import pytest
import torch
from torch import nn

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.core.values import Images
from ticketdiet.kernels.compiled import Kernels
from ticketdiet.kernels.line import AUTO, line_of
from ticketdiet.kernels.network import SparseNetwork, zeros_of
from ticketdiet.models.build import build_model
from ticketdiet.models.resnet import BasicBlock, Bottleneck, ResNet
from ticketdiet.training.batch_norm import batch_norms, batch_statistics
from ticketdiet.training.engine import Engine
from ticketdiet.training.loop import TrainingState, train
from ticketdiet.training.observers import StateObserver
from ticketdiet.training.recipe import Recipe

SEEDS = RunSeeds.of(0, 0)


@pytest.fixture(params=["basic", "bottleneck", "wide images"])
def resnet(request):
    """A small ResNet in training, and images for it; the last batch of sixteen is not full."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = Bottleneck if request.param == "bottleneck" else BasicBlock
        model = ResNet(block, (2, 1, 1), width=4, num_classes=5).train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # away from ReLU's kink, where rounding decides
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.5)
        sides = (9, 20) if request.param == "wide images" else (8, 8)
        return model, torch.randn(19, 3, *sides)


def masked(model, mask):
    for name, parameter in model.named_parameters():
        if name in mask:
            parameter.data *= mask[name]
    return model


def backward(model, forward, inputs, mask):
    """Logits, gradients of kept weights and buffers after one pass."""
    logits = forward(inputs)
    logits.square().sum().backward()
    grads = {name: p.grad * mask.get(name, torch.ones(())) for name, p in model.named_parameters()}
    return {"logits": logits.detach(), **grads, **dict(model.named_buffers())}


def close(found, expected):
    for name, value in expected.items():
        assert error_of(found[name], value) < 1e-4, name


def error_of(found, exact):
    return (found.double() - exact.double()).norm() / (exact.double().norm() + 1e-3)


def as_exact(found, inputs, mask, stock, exact):
    """Compare with the pass in float64: nearly as exact as torch's in float32, however badly conditioned it is."""
    theirs, exactly = backward(stock, stock, inputs, mask), backward(exact, exact, inputs.double(), mask)
    worst = max(error_of(theirs[name], value) for name, value in exactly.items())
    for name, value in exactly.items():
        ours, others = error_of(found[name], value), error_of(theirs[name], value)
        assert ours < max(10 * others, worst) + 1e-5, f"{name}: {ours}, torch {others}"


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_logits_gradients_and_running_statistics_of_a_resnet_are_those_of_torch(library, resnet, mask_of, density):
    model, inputs = resnet
    mask = mask_of(model, density)
    masked(model, mask)
    twin, exact = copy.deepcopy(model), copy.deepcopy(model).double()
    network = SparseNetwork(model, mask, line_of(1.0))
    assert "fused" in network.used
    for _ in range(2):  # buffers of the first pass are used again
        for one in (model, twin, exact):
            one.zero_grad()
        as_exact(backward(model, network, inputs, mask), inputs, mask, twin, exact)


def test_batches_of_another_size_may_follow(library, resnet, mask_of):
    model, inputs = resnet
    mask = mask_of(model, 0.3)
    twin = copy.deepcopy(masked(model, mask))
    exact = copy.deepcopy(twin).double()
    network = SparseNetwork(model, mask, line_of(1.0))
    for count in (19, 16, 5, 19):
        as_exact(backward(model, network, inputs[:count], mask), inputs[:count], mask, twin, exact)


def test_cumulative_averages_of_batch_norm_are_those_of_torch(library, resnet, mask_of):
    model, inputs = resnet
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    mask = mask_of(model, 0.3)
    twin = copy.deepcopy(masked(model, mask))
    network = SparseNetwork(model, mask, line_of(1.0))
    for part in (inputs[:8], inputs[8:]):
        network(part), twin(part)
    close(dict(model.named_buffers()), dict(twin.named_buffers()))


def test_one_and_two_threads_give_the_same_bits(library, resnet, mask_of):
    model, inputs = resnet
    mask, before = mask_of(model, 0.3), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            twin = copy.deepcopy(model)
            results.append(backward(twin, SparseNetwork(twin, mask, line_of(1.0)), inputs, mask))
    finally:
        torch.set_num_threads(before)
    body = [name for name in results[0] if not name.startswith(("fc", "logits"))]  # those are torch's
    assert all(torch.equal(results[0][name], results[1][name]) for name in body)


def test_the_backward_pass_of_an_earlier_forward_pass_is_refused(library, resnet, mask_of):
    model, inputs = resnet
    network = SparseNetwork(model, mask_of(model, 0.3), line_of(1.0))
    early = network(inputs)
    network(inputs)
    with pytest.raises(RuntimeError, match="has to follow its own forward pass"):
        early.sum().backward()


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_evaluation_by_running_statistics_is_that_of_torch(library, resnet, mask_of, density):
    model, inputs = resnet
    masked(model, mask_of(model, density)).eval()
    twin = copy.deepcopy(model).double()
    network = FusedOnly(model, zeros_of(model))
    with torch.inference_mode():
        for part in (inputs, inputs[:1], inputs):
            torch.testing.assert_close(network(part).double(), twin(part.double()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_of_batches_without_gradients_are_those_of_torch(library, resnet, mask_of, momentum):
    model, inputs = resnet
    masked(model.eval(), mask_of(model, 0.5))
    for layer in batch_norms(model):
        layer.train()
        layer.momentum = momentum
    twin = copy.deepcopy(model).double()
    network = FusedOnly(model, zeros_of(model))
    with torch.no_grad():
        for part in (inputs[:8], inputs[8:]):
            torch.testing.assert_close(network(part).double(), twin(part.double()), rtol=1e-3, atol=1e-4)
    close(dict(model.named_buffers()), dict(twin.named_buffers()))


def test_batch_norms_in_two_modes_or_without_statistics_keep_the_stock_kernels(library, resnet):
    model, inputs = resnet
    network = SparseNetwork(model.eval(), {}, line_of(1.0))
    assert network._fused is not None
    model.bn.train()
    assert network._fused.way(inputs) is None
    twin = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(network(inputs), twin(inputs))
        model.eval()
        with batch_statistics(model):
            assert network._fused.way(inputs) is None
        assert network._fused.way(inputs) == "evaluate"
    assert network._fused.way(inputs) is None, "a gradient may be wanted"


def test_an_evaluation_between_forward_and_backward_is_noticed(library, resnet, mask_of):
    model, inputs = resnet
    network = SparseNetwork(model, mask_of(model, 0.3), line_of(1.0))
    logits = network(inputs)
    model.eval()
    with torch.no_grad():
        network(inputs)
    with pytest.raises(RuntimeError, match="has to follow its own forward pass"):
        logits.sum().backward()


def test_gradients_go_straight_to_where_they_are_wanted(library, resnet, mask_of):
    model, inputs = resnet
    mask = mask_of(model, 0.3)
    twin = copy.deepcopy(masked(model, mask))
    by_autograd = backward(twin, SparseNetwork(twin, mask, line_of(1.0)), inputs, mask)
    straight = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.grad = straight[name]
    found = backward(model, SparseNetwork(model, mask, line_of(1.0), straight), inputs, mask)
    assert all(torch.equal(found[name], value) for name, value in by_autograd.items())
    assert all((straight[name][kept == 0] == 0).all() for name, kept in mask.items() if not name.startswith("fc"))


class FusedOnly(SparseNetwork):
    """A network that has to be done as a whole."""

    def __init__(self, model, mask):
        super().__init__(model, mask, line_of(1.0))

    def __call__(self, inputs):
        assert self._fused is not None
        way = self._fused.way(inputs)
        assert way is not None
        return self._fused(inputs, way)


def test_the_module_is_left_as_it_was(library, resnet, mask_of):
    model, inputs = resnet
    names, keys = list(model.state_dict()), [sorted(module.__dict__) for module in model.modules()]
    mask = mask_of(model, 0.5) | {"conv.weight": torch.zeros(4, 3, 3, 3)}
    for density, how in ((1.0, "fused"), (0.2, "per layer")):
        network = SparseNetwork(model, mask, line_of(density))
        assert how in network.used
        network(inputs)
        assert list(model.state_dict()) == names
        assert [sorted(module.__dict__) for module in model.modules()] == keys
    assert torch.equal(copy.deepcopy(model.eval())(inputs), model(inputs))


@pytest.mark.parametrize("where", ["", "blocks.1.conv1"])
def test_hooks_are_called_as_before(library, resnet, mask_of, where):
    model, inputs = resnet
    heard = []
    network = SparseNetwork(model, mask_of(model, 0.2), line_of(0.3))
    handle = model.get_submodule(where).register_forward_hook(lambda *_: heard.append(where))
    network(inputs)
    assert heard == [where]
    handle.remove()
    network(inputs)
    assert heard == [where]


def test_a_network_of_ones_own_is_done_layer_by_layer(library, small_network, mask_of, caplog):
    model = small_network(width=6)
    model.insert(3, nn.Conv2d(6, 6, 3, groups=2, padding=1))
    mask = mask_of(model, 0.2)
    twin = copy.deepcopy(masked(model, mask))
    with caplog.at_level(logging.WARNING):
        network = SparseNetwork(model, mask, line_of(0.5))
        SparseNetwork(model, mask, line_of(0.5))
    assert network.used.endswith("per layer: 2 layers")
    assert [record.message for record in caplog.records if "groups" in record.message] == [
        "Layers like 3 train with the stock kernels: Conv2d with groups."
    ]
    inputs = torch.randn(18, 3, 8, 8)
    close(backward(model, network, inputs, mask), backward(twin, twin, inputs, mask))


def test_a_network_of_ones_own_is_evaluated_layer_by_layer(library, small_network, mask_of):
    model = masked(small_network(width=6), mask_of(small_network(width=6), 0.15)).eval()
    network = SparseNetwork(model, zeros_of(model), AUTO)
    assert "per layer" in network.used
    inputs = torch.randn(18, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(inputs), model(inputs), rtol=1e-4, atol=1e-5)


def test_layers_that_are_not_made_yet_have_no_zeros():
    assert list(zeros_of(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)))) == ["1.weight"]


def test_a_forward_of_ones_own_is_kept(library, resnet, mask_of):
    model, inputs = resnet
    layer = model.blocks[0].conv1
    doubled = 2 * torch.ones_like(layer.weight)
    layer.forward = kept = functools.partial(nn.functional.conv2d, weight=doubled, padding="same")
    mask = mask_of(model, 0.2)
    masked(model, mask)
    network = SparseNetwork(model, mask, line_of(1.0))
    assert "per layer" in network.used
    twin = copy.deepcopy(model)
    torch.testing.assert_close(network(inputs), twin(inputs), rtol=1e-4, atol=1e-4)
    assert layer.forward is kept


def test_a_forward_that_guards_a_layer_for_a_while_does_what_the_kernels_leave(library, small_network, mask_of):
    model = small_network(width=6)
    network = SparseNetwork(model, mask_of(model, 0.2), line_of(1.0))
    seen, stock = [], model[0].forward
    model[0].forward = guard = lambda x: seen.append(x.dtype) or stock(x.float())
    network(torch.randn(2, 3, 8, 8))
    assert seen == []
    network(torch.randn(2, 3, 8, 8).double())
    assert seen == [torch.float64]
    assert model[0].forward is guard


def test_only_layers_under_the_line_take_the_kernels(library, small_network):
    model = small_network(width=6)
    mask = {"0.weight": torch.ones(6, 3, 3, 3), "5.weight": torch.zeros(4, 24)}
    assert SparseNetwork(model, mask, line_of(0.5)).used.endswith("per layer: 1 layer")
    assert SparseNetwork(model, mask, line_of(1.0)).used.endswith("per layer: 2 layers")
    assert SparseNetwork(model, {"0.weight": mask["0.weight"]}, line_of(0.5)).used == "stock: no layer is sparse enough"


def images_of(side=8):
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (64, 3, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (64,), generator=generator)
    return Images(pixels, labels, tuple("abcd"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def recipe_with(kernels, **changes):
    return Recipe(
        **{"steps": 30, "batch_size": 32, "lr": 0.02, "precision": "float32", "sparse_kernels": kernels} | changes
    )


def trained(model, mask, recipe, **options):
    return train(copy.deepcopy(model), images_of(), recipe, seeds=SEEDS, mask=mask, **options)


@pytest.mark.parametrize("name", ["resnet8", "lenet_300_100"])
def test_thirty_steps_agree_with_the_stock_kernels_to_rounding(library, mask_of, name):
    model = build_model(name, num_classes=4, image_size=8)
    mask = mask_of(model, 0.2)
    for steps, error in ((3, 1e-4), (30, 0.1)):
        sparse = trained(model, mask, recipe_with("auto"), stop_step=steps)
        stock = trained(model, mask, recipe_with("off"), stop_step=steps)
        assert sparse.kernels.startswith("sparse, ")
        assert stock.kernels.startswith("stock: ")
        apart, way = (
            sum((sparse.weights[key].double() - other[key].double()).square().sum() for key in mask).sqrt()
            for other in (stock.weights, masked(copy.deepcopy(model), mask).state_dict())
        )
        assert 0 < apart < error * way
        for key, kept in mask.items():
            assert (sparse.weights[key][kept == 0] == 0).all()


def test_a_resumed_sparse_training_is_equal_to_the_bit(library, mask_of):
    model = build_model("resnet8", num_classes=4, image_size=8)
    mask, states = mask_of(model, 0.2), []
    whole = trained(model, mask, recipe_with("auto", steps=8), observers=[StateObserver(states.append, 0.0)])
    middle = next(state for state in states if state.step == 5)
    state = TrainingState.from_tensors(middle.to_tensors(), 1)
    resumed = trained(
        model, mask, recipe_with("auto", steps=8), observers=[StateObserver(lambda _: None, 99.0)], resume=state
    )
    assert all(torch.equal(resumed.weights[name], value) for name, value in whole.weights.items())
    momentum = resumed.optimiser["momentum"]
    assert all(torch.equal(momentum[name], value) for name, value in whole.optimiser["momentum"].items())


def test_dense_bfloat16_and_switched_off_trainings_keep_the_stock_kernels(mask_of):
    model = build_model("resnet8", num_classes=4, image_size=8)
    mask = mask_of(model, 0.1)
    assert Engine(copy.deepcopy(model), recipe_with("auto")).kernels == "stock: no mask"
    in_bfloat16 = Engine(copy.deepcopy(model), recipe_with("auto", precision="bfloat16"), mask)
    assert in_bfloat16.kernels == "stock: bfloat16 on cpu"
    assert Engine(copy.deepcopy(model), recipe_with("off"), mask).kernels.startswith("stock: ")


def test_without_a_compiler_training_goes_on_and_says_why_once(mask_of, monkeypatch, caplog):
    reason = "no C++ compiler (for this test)"
    monkeypatch.setattr("ticketdiet.kernels.network.kernels", lambda: Kernels(None, reason))
    model = build_model("resnet8", num_classes=4, image_size=8)
    mask = mask_of(model, 0.1)
    with caplog.at_level(logging.WARNING):
        found = [trained(model, mask, recipe_with(kernels, steps=3)) for kernels in ("auto", "auto", "off")]
    assert [one.kernels for one in found[:2]] == [f"stock: {reason}"] * 2
    assert [record.message for record in caplog.records] == [f"The stock kernels train sparse networks here: {reason}."]
    assert all(torch.equal(found[0].weights[name], value) for name, value in found[2].weights.items())


def test_every_choice_of_kernels_is_a_recipe_of_its_own_in_float32():
    found = [recipe_with(kernels).identity() for kernels in ("auto", "off", 0.2, 1.0)]
    assert all(a != b for number, a in enumerate(found) for b in found[:number])
    in_bfloat16 = [recipe_with(kernels, precision="bfloat16").identity() for kernels in ("auto", "off")]
    assert in_bfloat16[0] == in_bfloat16[1]
    assert recipe_with(False) == recipe_with("off")  # what YAML makes of a plain off
    for kernels in ("auto", "off", 0.2):
        assert Recipe.model_validate(recipe_with(kernels).identity()).sparse_kernels == kernels


@pytest.mark.parametrize(("width", "density"), [(4, 1.0), (8, 1.0), (9, 0.7), (16, 0.7), (32, 0.5), (48, 0.4)])
def test_the_line_of_a_resnet_follows_the_channels_of_its_first_convolution(width, density):
    assert AUTO.network(width) == density
    assert line_of(0.7).network(width) == 0.7
    assert line_of("off").network(width) == 0.0


def test_a_narrow_resnet_takes_the_kernels_without_a_mask(library):
    narrow, wide = (build_model("resnet8", num_classes=4, image_size=8, width=width) for width in (8, 16))
    assert "fused: 9 layers" in SparseNetwork(narrow, {}, AUTO).used
    assert SparseNetwork(wide, {}, AUTO).used == "stock: no mask"
    assert SparseNetwork(narrow, {}, line_of("off")).used == "stock: no mask"


def test_resnets_as_a_whole_and_single_layers_have_lines_of_their_own(library, small_network, mask_of):
    model = build_model("resnet8", num_classes=4, image_size=8)
    assert "fused" in SparseNetwork(model, mask_of(model, 0.5), AUTO).used
    assert SparseNetwork(model, mask_of(model, 0.8), AUTO).used == "stock: no layer is sparse enough"
    assert SparseNetwork(model, mask_of(model, 0.0), line_of("off")).used == "stock: no layer is sparse enough"
    own = small_network(width=32)
    assert "per layer" in SparseNetwork(own, mask_of(own, 0.15), AUTO).used
    assert SparseNetwork(own, mask_of(own, 0.25), AUTO).used == "stock: no layer is sparse enough"


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, float("nan"), "on", "0.3x", True])
def test_other_choices_of_kernels_are_refused(wrong):
    with pytest.raises(ValueError, match="sparse_kernels"):
        recipe_with(wrong)
