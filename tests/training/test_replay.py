import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UnknownName
from ticketdiet.core.seeds import RunSeeds
from ticketdiet.models.build import build_model
from ticketdiet.training import replay
from ticketdiet.training.batches import ImageBatches
from ticketdiet.training.engine import Engine
from ticketdiet.training.loop import DivergedAt, train
from ticketdiet.training.observers import BatchLossObserver, EvaluationObserver, StateObserver
from ticketdiet.training.recipe import Recipe
from ticketdiet.training.replay import COMPARED, WARM_UP, ReplayedSteps, steps_of

SEEDS = RunSeeds.of(0, 0)
RECIPE = Recipe(steps=120, batch_size=8, lr=0.05, crop_padding=1, warmup_steps=10)
OPTIMISERS = {
    "sgd": {"optimiser": "sgd", "weight_decay": 1e-3},
    "nesterov": {"optimiser": "sgd", "nesterov": True},
    "adamw": {"optimiser": "adamw", "lr": 1e-3},
}


class Imitation:
    """A recording that does the operations again, as a graph does, where there is no GPU."""

    def __init__(self, engine, batch):
        self.engine, self.batch = engine, batch

    def forward(self, batch):
        self.logits, self.loss = self.engine.forward(batch)
        return self.logits.detach(), self.loss.detach()

    def update(self, lr, step):
        self.engine.announce(lr, step)
        self.engine.update_on_device(self.loss)


class Frozen(Imitation):
    """A recording of a network whose steps differ: it repeats the batch that it was made with."""

    def forward(self, batch):
        return super().forward(self.batch)


class Unrecordable:
    def __init__(self, engine, batch):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


def losses_of(steps, images, count=20):
    batches = ImageBatches(images, RECIPE, SEEDS)
    losses = []
    for step in range(count):
        _, loss = steps.forward(batches.batch(step))
        losses.append(float(loss.detach()))
        assert steps.update(loss, 0.05, step)
    return losses


def trained_by(make_steps, images, model):
    engine = Engine(model, RECIPE, deferred=True)
    steps = make_steps(engine)
    return losses_of(steps, images), engine.data.flat.clone(), steps


@pytest.mark.parametrize("recording", [Imitation, Frozen, Unrecordable])
def test_whatever_comes_of_the_recording_the_steps_are_those_of_the_engine(images, make_model, monkeypatch, recording):
    monkeypatch.setattr(replay, "_Recording", recording)
    losses, weights, _ = trained_by(lambda engine: engine, images, make_model())
    replayed_losses, replayed_weights, steps = trained_by(ReplayedSteps, images, make_model())
    assert losses == replayed_losses
    assert torch.equal(weights, replayed_weights)
    said = {
        Imitation: "replayed as CUDA graphs",
        Frozen: "not replayed: the network does not do the same at every step",
        Unrecordable: "not replayed: operation not permitted when stream is capturing",
    }
    assert steps.kernels.endswith(said[recording])


def test_after_the_compared_steps_only_the_recording_works(images, make_model, monkeypatch):
    monkeypatch.setattr(replay, "_Recording", Imitation)
    engine = Engine(make_model(), RECIPE, deferred=True)
    called = []
    monkeypatch.setattr(engine, "update", lambda *arguments: called.append(1) or Engine.update(engine, *arguments))
    losses_of(ReplayedSteps(engine), images)
    assert len(called) == WARM_UP + COMPARED


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_update_with_numbers_on_the_device_is_the_update(images, make_model, optimiser):
    recipe = Recipe(**{**RECIPE.model_dump(exclude_unset=True), **OPTIMISERS[optimiser]})
    weights = []
    for deferred in (False, True):
        engine = Engine(make_model(), recipe, deferred=deferred, first_step=2)
        batches = ImageBatches(images, recipe, SEEDS)
        for step in range(2, 12):
            _, loss = engine.forward(batches.batch(step))
            engine.update(loss, 0.01, step)
        weights.append(engine.data.flat)
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)


def test_on_the_cpu_the_engine_takes_the_steps(make_model):
    engine = Engine(make_model(), RECIPE)
    assert steps_of(engine, 10_000) is engine


def test_a_switch_that_is_neither_auto_nor_off_is_refused(make_model, monkeypatch):
    monkeypatch.setenv(replay.SWITCH, "0")
    with pytest.raises(UnknownName, match="auto"):
        steps_of(Engine(make_model(), RECIPE), 10)


def network(seed=0):
    """A network of which CUDA has deterministic forms of all operations."""
    return build_model("resnet8", num_classes=4, image_size=8, width=4, seed=seed)


def on_gpu(images):
    return images.to(torch.device("cuda"))


def trained_on_gpu(images, model, recipe, **options):
    return train(model.cuda(), on_gpu(images), recipe, seeds=SEEDS, **options)


def assert_same(first, second):
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert all(
        torch.equal(first.optimiser[kind][name], second.optimiser[kind][name])
        for kind in first.optimiser
        for name in first.optimiser[kind]
    )


@pytest.mark.cuda
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replayed_steps_on_a_gpu_give_the_bits_of_steps_that_are_not(images, monkeypatch, precision, masked, optimiser):
    recipe = Recipe(**{**RECIPE.model_dump(exclude_unset=True), "precision": precision, **OPTIMISERS[optimiser]})
    generator = torch.Generator().manual_seed(1)
    mask = {"conv.weight": (torch.rand(4, 3, 3, 3, generator=generator) > 0.5).to(torch.uint8)} if masked else None
    results = []
    for switch in ("auto", "off", "auto"):
        monkeypatch.setenv(replay.SWITCH, switch)
        watching = [BatchLossObserver(7), EvaluationObserver({"train": on_gpu(images)}, (0, 11, 60, 120), precision)]
        results.append(trained_on_gpu(images, network(), recipe, mask=mask, observers=watching))
    replayed, started, again = results
    assert replayed.kernels.endswith("replayed as CUDA graphs")
    assert not started.kernels.endswith("graphs")
    for other in (started, again):
        assert_same(replayed, other)
        assert replayed.trace == other.trace


@pytest.mark.cuda
def test_a_training_resumed_on_a_gpu_is_equal_to_the_bit(images):
    states = []
    whole = trained_on_gpu(
        images, network(), RECIPE, observers=[BatchLossObserver(7), StateObserver(states.append, every_steps=13)]
    )
    saving = [BatchLossObserver(7), StateObserver(states.append, every_steps=1000)]
    resumed = trained_on_gpu(images, network(9), RECIPE, observers=saving, resume=states[1])
    assert_same(whole, resumed)
    assert whole.trace == resumed.trace


@pytest.mark.cuda
def test_the_first_steps_on_a_gpu_are_those_on_the_cpu(images):
    recipe = RECIPE.model_copy(update={"steps": 10, "warmup_steps": 0})
    on_cpu = train(network(), images, recipe, seeds=SEEDS)
    gpu = trained_on_gpu(images, network(), recipe)
    for name, weight in on_cpu.weights.items():
        torch.testing.assert_close(gpu.weights[name], weight, rtol=1e-3, atol=1e-4, msg=name)


class Diverging(nn.Module):
    """Its output is infinite from a call on that its own buffer counts, on the device."""

    def __init__(self, network, calls):
        super().__init__()
        self.network, self.calls = network, calls
        self.count: torch.Tensor
        self.register_buffer("count", torch.zeros(()))

    def forward(self, inputs):
        self.count.add_(1)
        return self.network(inputs) * torch.where(self.count > self.calls, float("inf"), 1.0)


@pytest.mark.cuda
def test_a_loss_that_is_not_finite_in_a_replayed_step_is_reported_with_the_state_before_it(images):
    with pytest.raises(DivergedAt, match="at step 77") as error:
        trained_on_gpu(images, Diverging(network(), 77), RECIPE)
    before = trained_on_gpu(images, Diverging(network(), 10_000), RECIPE, stop_step=77)
    assert error.value.state.step == 77
    for name, weight in before.weights.items():
        assert torch.equal(weight, error.value.state.weights[name]), name


class Looking(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        return self.network(inputs) * (1 if float(inputs.sum()) < 1e30 else 2)


class Counting(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, inputs):
        self.calls += 1
        return self.network(inputs) * (1 + self.calls)


@pytest.mark.cuda
@pytest.mark.parametrize("wrapper", [Looking, Counting])
def test_a_network_that_cannot_be_replayed_trains_as_without_replay(images, monkeypatch, wrapper):
    tried = trained_on_gpu(images, wrapper(network()), RECIPE)
    assert "not replayed" in tried.kernels
    monkeypatch.setenv(replay.SWITCH, "off")
    if wrapper is Looking:  # the other counts the recorded call, too
        assert_same(tried, trained_on_gpu(images, wrapper(network()), RECIPE))
