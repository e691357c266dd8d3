import numpy as np
import pytest
import torch

from ticketdiet.core.errors import UserError
from ticketdiet.core.options import make
from ticketdiet.core.values import Images
from ticketdiet.tickets.metrics import METRICS, MetricSubject


class Given(torch.nn.Module):
    """A network whose outputs are the pixels it is shown."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return self.scale * inputs


def subject_of(logits=None, labels=None, weights=None, point=None, mask=None):
    splits = {}
    if logits is not None:
        names = tuple(map(str, range(logits.shape[1])))
        splits = {"test": Images(torch.from_numpy(logits), torch.from_numpy(labels), names)}
    return MetricSubject(Given().eval(), weights or {}, point or {}, mask or {}, splits)


def calibration_error_of(logits, labels, bins):
    """As Guo et al. define it: bin by bin, the weighted gap between accuracy and confidence."""
    exact = logits.astype(np.float64)
    probabilities = np.exp(exact - exact.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for number in range(bins):
        last = number == bins - 1
        here = (confidence >= number / bins) & ((confidence < (number + 1) / bins) | last)
        if here.any():
            total += here.mean() * abs(correct[here].mean() - confidence[here].mean())
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_calibration_error_is_that_of_its_definition(bins):
    rng = np.random.default_rng(bins)
    logits, labels = 2 * rng.normal(size=(500, 5)).astype(np.float32), rng.integers(0, 5, 500)
    found = make(METRICS, "calibration_error", {"bins": bins}).measure(subject_of(logits, labels))
    assert found == {"test": pytest.approx(calibration_error_of(logits, labels, bins), abs=1e-6)}


def test_a_network_that_is_always_right_and_certain_is_calibrated():
    labels = np.arange(20) % 4
    logits = np.where(np.eye(4)[labels] > 0, 60.0, -60.0).astype(np.float32)
    assert make(METRICS, "calibration_error").measure(subject_of(logits, labels))["test"] == pytest.approx(0, abs=1e-9)


def test_a_channel_is_dead_when_no_weight_into_it_is_kept():
    convolution, linear = torch.ones(4, 2, 3, 3, dtype=torch.uint8), torch.ones(6, 5, dtype=torch.uint8)
    convolution[1] = 0
    convolution[2, :, 1] = 0  # some of its weights stay
    linear[[0, 5]] = 0
    found = make(METRICS, "dead_channels").measure(subject_of(mask={"a": convolution, "b": linear}))
    assert found == {"": 3 / 10}


def test_the_distance_is_relative_and_counts_kept_weights_alone():
    point = {"w": torch.tensor([[3.0, 100.0], [0.0, 4.0]])}
    trained = {"w": torch.tensor([[3.0, -9.0], [5.0, 16.0]])}
    mask = {"w": torch.tensor([[1, 0], [1, 1]], dtype=torch.uint8)}
    found = make(METRICS, "distance").measure(subject_of(weights=trained, point=point, mask=mask))
    assert found == {"": pytest.approx(13 / 5)}  # (0, 5, 12) over (3, 0, 4)


def test_options_of_a_metric_are_checked():
    with pytest.raises(UserError, match="has no option 'bin'"):
        make(METRICS, "calibration_error", {"bin": 10})
