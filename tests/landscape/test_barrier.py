"""What a barrier is: a quadratic in closed form, and laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketdiet.landscape.barrier import Barrier, heights_above_chord


def test_the_height_of_a_quadratic_is_half_alpha_one_minus_alpha_times_its_curvature() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(5, 5))
    hessian, a, b = root @ root.T - 2 * np.eye(5), rng.normal(size=5), rng.normal(size=5)
    alphas = (0.0, 0.2, 0.5, 0.9, 1.0)
    points = [(1 - t) * a + t * b for t in alphas]
    losses = torch.tensor([[0.5 * p @ hessian @ p + p.sum()] for p in points])
    expected = [-0.5 * t * (1 - t) * (b - a) @ hessian @ (b - a) for t in alphas]
    np.testing.assert_allclose(heights_above_chord(losses, alphas)[:, 0].numpy(), expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 20, width=32), min_size=6, max_size=6), st.floats(0, 5), st.floats(0, 5))
def test_the_connected_fraction_never_falls_with_the_tolerance(losses: list[float], low: float, more: float) -> None:
    barrier = Barrier((0.0, 0.5, 1.0), torch.tensor(losses).view(3, 2), torch.zeros(3, 2, dtype=torch.bool))
    assert 0 <= barrier.connected_fraction(low) <= barrier.connected_fraction(low + more) <= 1
    assert barrier.connected_fraction(low) == pytest.approx(float((barrier.per_example.numpy() <= low).mean()))
