import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ticketdiet.core.seeds import RunSeeds
from ticketdiet.training.engine import Engine
from ticketdiet.training.evaluation import evaluate, predict_logits
from ticketdiet.training.loop import train
from ticketdiet.training.losses import LOSSES, Loss
from ticketdiet.training.recipe import Recipe

SEEDS = RunSeeds.of(0, 0)


def drawn(count=50, classes=4):
    generator = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(count, classes, generator=generator)
    return logits, torch.randint(0, classes, (count,), generator=generator)


def probabilities(logits):
    powers = np.exp(logits.double().numpy())
    return powers / powers.sum(1, keepdims=True)


def loss_of(name, options=None, **keys):
    return Recipe(loss=name, loss_options=options or {}, **keys).make_loss()


def agree(found, expected):
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_cross_entropy_is_minus_the_log_of_the_labels_probability():
    logits, labels = drawn()
    agree(loss_of("cross_entropy").per_example(logits, labels), -np.log(probabilities(logits)[range(50), labels]))


def test_label_smoothing_mixes_the_label_with_all_classes():
    logits, labels = drawn()
    target = 0.9 * np.eye(4)[labels] + 0.1 / 4
    expected = -(target * np.log(probabilities(logits))).sum(1)
    loss = loss_of("cross_entropy", label_smoothing=0.1)
    agree(loss.per_example(logits, labels), expected)
    agree(loss.mean(logits, labels), expected.mean())


@pytest.mark.parametrize(("weight", "target"), [(1.0, 1.0), (5.0, 2.0)])
def test_the_squared_error_is_the_mean_over_classes(weight, target):
    logits, labels = drawn()
    off = logits.double().numpy() - target * np.eye(4)[labels]
    expected = (np.where(np.eye(4)[labels] == 1, weight, 1) * off**2).mean(1)
    agree(loss_of("squared_error", {"weight": weight, "target": target}).per_example(logits, labels), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_plays_examples_down_by_how_right_they_are(gamma):
    logits, labels = drawn()
    p = probabilities(logits)[range(50), labels]
    agree(loss_of("focal", {"gamma": gamma}).per_example(logits, labels), -((1 - p) ** gamma) * np.log(p))


@pytest.mark.parametrize("name", LOSSES.names())
@given(scale=st.sampled_from([0.0, 1.0, 100.0, 3e4]))
def test_gradients_are_finite_for_the_most_certain_networks(name, scale):
    logits, labels = drawn()
    logits = (scale * logits).requires_grad_()
    loss_of(name, {"gamma": 0.5} if name == "focal" else {}).mean(logits, labels).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_training_minimises_its_loss_and_is_evaluated_in_cross_entropy(images, make_model, name):
    recipe = Recipe(steps=40, batch_size=8, lr=0.02, loss=name, crop_padding=0, flip=False)
    model = make_model()
    loss = recipe.make_loss()

    def found():
        with torch.no_grad():
            inputs = (images.pixels.float() / 255 - 0.4) / 0.25
            return float(loss.mean(model(inputs), images.labels))

    before = found()
    train(model, images, recipe, seeds=SEEDS)
    assert found() < before
    expected = Recipe().make_loss()
    logits = predict_logits(model, images)
    assert torch.equal(evaluate(model, images).losses, expected.per_example(logits, images.labels))


class Hinge(Loss):
    """Multi-class hinge of Crammer and Singer."""

    def per_example(self, logits, labels):
        right = logits.gather(1, labels[:, None])
        return (1 + logits - right).scatter(1, labels[:, None], 0.0).amax(1).clamp_min(0)


def test_a_loss_of_another_package_trains(images, make_model):
    with LOSSES.temporarily("hinge", Hinge):
        recipe = Recipe(steps=5, batch_size=8, loss="hinge")
        engine = Engine(make_model(), recipe)
        assert train(make_model(), images, recipe, seeds=SEEDS).last_step == 5
        assert recipe.identity()["loss"] == "hinge"
    logits, labels = drawn()
    assert torch.equal(engine._loss.mean(logits, labels), Hinge({}).per_example(logits, labels).mean())


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"loss": "focus"}, "unknown loss 'focus'; expected one of: cross_entropy, focal, squared_error"),
        ({"loss": "focal", "label_smoothing": 0.1}, "label_smoothing has no effect with loss 'focal'"),
        ({"loss": "focal", "loss_options": {"alpha": 0.25}}, "loss 'focal' has no option 'alpha'.*gamma"),
        ({"loss": "focal", "loss_options": {"gamma": -1}}, "'gamma'.*greater than or equal to 0"),
        ({"loss_options": {"gamma": 1}}, "loss 'cross_entropy' has no option 'gamma'"),
    ],
)
def test_losses_and_options_that_do_not_go_together_are_refused(keys, words):
    with pytest.raises(ValidationError, match=words):
        Recipe(**keys)


def test_the_identity_names_a_loss_with_its_options_written_out():
    identity = Recipe(loss="focal").identity()
    assert identity == Recipe(loss="focal", loss_options={"gamma": 2}).identity()
    assert identity["loss_options"] == {"gamma": 2.0}
    assert "label_smoothing" not in identity
