import numpy as np
import pytest
import torch
from torch import nn

from ticketdiet.core.errors import UserError
from ticketdiet.core.values import Images
from ticketdiet.landscape.plane import measure_plane
from ticketdiet.training.batch_norm import recalibrate
from ticketdiet.training.evaluation import evaluate


@pytest.fixture
def three(network, weights_of):
    """Weights of three networks of one shape."""
    return [weights_of(network(seed)) for seed in (1, 2, 3)]


def vector(model, weights):
    return torch.cat([weights[name].double().flatten() for name, _ in model.named_parameters()])


def test_distances_in_the_plane_are_those_of_the_weights(network, three, images):
    model = network(0)
    plane = measure_plane(model, three, images, points=2)
    vectors = [vector(model, weights) for weights in three]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        apart = float((vectors[i] - vectors[j]).norm())
        assert np.linalg.norm(plane.corners[i] - plane.corners[j]) == pytest.approx(apart)


def test_the_grid_reaches_beyond_the_networks_by_the_margin(network, three, images):
    plane = measure_plane(network(0), three, images, points=5, margin=0.5)
    low, high = plane.corners.min(0), plane.corners.max(0)
    assert (plane.x[0], plane.x[-1]) == pytest.approx((low[0] - (high - low)[0] / 2, high[0] + (high - low)[0] / 2))
    assert (plane.y[0], plane.y[-1]) == pytest.approx((low[1] - (high - low)[1] / 2, high[1] + (high - low)[1] / 2))
    assert plane.losses.shape == plane.errors.shape == (5, 5)
    assert plane.examples == len(images)


def test_a_point_is_the_network_whose_weights_are_mixed_by_its_place(network, three, images):
    plane = measure_plane(network(0), three, images, points=4)
    model = network(0)
    a, b, c = (vector(model, weights).numpy() for weights in three)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        # The basis by Gram and Schmidt, as published; here the fractions of the networks are solved for.
        u = (b - a) / np.linalg.norm(b - a)
        v = (c - a) - ((c - a) @ u) * u
        place = a + plane.x[column] * u + plane.y[row] * v / np.linalg.norm(v)
        at = 0
        for _, parameter in model.named_parameters():
            values = place[at : at + parameter.numel()].reshape(parameter.shape)
            parameter.data.copy_(torch.from_numpy(values))
            at += parameter.numel()
        recalibrate(model, images)
        assert plane.losses[row, column] == pytest.approx(float(evaluate(model, images).losses.mean()), rel=1e-4)


def test_the_corners_of_a_grid_without_margin_hold_the_networks_themselves():
    def line(first, second):
        return {"weight": torch.tensor([[first], [second]])}

    model = nn.Linear(1, 2, bias=False)
    images = Images(torch.ones(1, 1), torch.tensor([0]), ("a", "b"))
    plane = measure_plane(model, [line(0.0, 0.0), line(2.0, 0.0), line(0.0, 3.0)], images, points=2, margin=0.0)
    logits = np.array([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [2.0, 3.0]]])
    expected = np.log(np.exp(logits).sum(-1)) - logits[..., 0]
    assert plane.losses == pytest.approx(expected, rel=1e-5)
    assert plane.corners == pytest.approx(np.array([[0, 0], [2, 0], [0, 3]]))


def test_the_module_and_the_weights_stay_as_they_are(network, three, images, weights_of):
    model = network(0)
    before, kept = weights_of(model), [dict(weights) for weights in three]
    measure_plane(model, three, images, points=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(a[name], b[name]) for a, b in zip(kept, three, strict=True) for name in a)


def test_networks_on_one_line_are_refused(network, three, images):
    middle = {
        name: (three[0][name] + three[1][name]) / 2 if t.is_floating_point() else t for name, t in three[0].items()
    }
    with pytest.raises(UserError, match="lie on one line"):
        measure_plane(network(0), [three[0], three[1], middle], images)
    with pytest.raises(UserError, match="lie on one line"):
        measure_plane(network(0), [three[0]] * 3, images)


def test_two_networks_and_networks_that_are_not_finite_are_refused(network, three, images):
    with pytest.raises(UserError, match="Got 2 networks"):
        measure_plane(network(0), three[:2], images)
    broken = {name: torch.full_like(t, torch.nan) if t.is_floating_point() else t for name, t in three[0].items()}
    with pytest.raises(UserError, match="of network 3 are NaN"):
        measure_plane(network(0), [three[0], three[1], broken], images)
