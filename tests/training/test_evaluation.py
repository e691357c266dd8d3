import numpy as np
import torch
from torch import nn

from ticketdiet.training.cost import forward_flops, training_flops
from ticketdiet.training.evaluation import evaluate, predict_logits


def test_losses_and_correctness_agree_with_a_softmax_by_hand(images, make_model):
    model = make_model().eval()
    logits = predict_logits(model, images, batch_size=7).numpy().astype(np.float64)
    exp = np.exp(logits - logits.max(1, keepdims=True))
    probability = exp / exp.sum(1, keepdims=True)
    labels = images.labels.numpy()
    result = evaluate(model, images)
    np.testing.assert_allclose(result.losses, -np.log(probability[np.arange(40), labels]), rtol=1e-5)
    np.testing.assert_array_equal(result.correct, logits.argmax(1) == labels)
    assert np.isclose(result.accuracy, np.mean(logits.argmax(1) == labels))


def test_logits_are_those_of_normalised_images_in_eval_mode(images, make_model):
    model = make_model()
    mean, std = (torch.tensor(v)[:, None, None] for v in (images.mean, images.std))
    with torch.no_grad():
        expected = model.eval()((images.pixels.float() / 255 - mean) / std)
    model.train()
    torch.testing.assert_close(predict_logits(model, images), expected, rtol=1e-4, atol=1e-5)


def test_evaluating_leaves_modes_and_buffers_as_they_were(images, make_model):
    model = make_model().train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, images)
    assert model.training
    assert model[0].training
    assert not model[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_size_of_the_batch_does_not_matter(images, make_model):
    model = make_model()
    torch.testing.assert_close(evaluate(model, images, batch_size=3).losses, evaluate(model, images).losses)


def test_bfloat16_agrees_with_float32_to_its_precision(images, make_model):
    model = make_model()
    exact, rough = evaluate(model, images), evaluate(model, images, precision="bfloat16")
    torch.testing.assert_close(rough.losses, exact.losses, rtol=0.05, atol=0.05)


def test_flops_are_counted_as_two_a_multiply_add():
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 16, 7))
    forward = 2 * (5 * 3 * 9 * 16 + 5 * 16 * 7)
    assert forward_flops(model, (3, 4, 4)) == forward
    assert training_flops(forward, 10) == 30 * forward
