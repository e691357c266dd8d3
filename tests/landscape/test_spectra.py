"""Algorithms against a quadratic whose Hessian, trace and spectrum are known in closed form."""

import numpy as np
import pytest

from ticketdiet.core.errors import TicketDietError, UserError
from ticketdiet.landscape.curvature import CurvatureOperator, CurvatureSetting
from ticketdiet.landscape.spectra import estimate_trace, spectral_density, top_eigenvalues


def quadratic(eigenvalues: np.ndarray, seed: int = 0) -> CurvatureOperator:
    size = len(eigenvalues)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    matrix = rotation * eigenvalues @ rotation.T
    setting = CurvatureSetting("hessian", 1, "eval", 1, size, False)
    return CurvatureOperator(lambda vector: matrix @ vector, setting)


BULK = np.concatenate([np.linspace(-0.1, 0.1, 190), [2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, -7.0, -60.0]])


@pytest.mark.parametrize("size", [5, 64, 200])
def test_the_largest_eigenvalues_by_value_not_by_magnitude(size: int) -> None:
    eigenvalues = BULK[-size:]
    found = top_eigenvalues(quadratic(eigenvalues), 3, tolerance=1e-8)
    np.testing.assert_allclose(found.values, np.sort(eigenvalues)[::-1][:3], rtol=1e-6)


def test_all_eigenvalues_of_a_small_matrix_can_be_asked_for() -> None:
    np.testing.assert_allclose(top_eigenvalues(quadratic(np.arange(4.0)), 4).values, [3, 2, 1, 0], atol=1e-12)


def test_the_trace_is_exact_with_as_many_products_as_dimensions() -> None:
    found = estimate_trace(quadratic(BULK), products=200)
    assert found.value == pytest.approx(BULK.sum())
    assert (found.standard_error, found.products) == (0, 200)


def test_the_trace_of_low_rank_and_noise_is_near_with_few_products() -> None:
    found = estimate_trace(quadratic(BULK), products=60)
    assert found.products == 60
    assert abs(found.value - BULK.sum()) < max(5 * found.standard_error, 0.5)


def test_the_trace_is_unbiased_over_seeds() -> None:
    spectrum = np.random.default_rng(0).normal(1, 1, size=80)
    values = [estimate_trace(quadratic(spectrum), products=12, seed=seed).value for seed in range(200)]
    assert abs(np.mean(values) - spectrum.sum()) < 4 * np.std(values) / np.sqrt(200)


def test_the_density_integrates_to_one_and_has_the_moments_of_the_spectrum() -> None:
    found = spectral_density(quadratic(BULK), steps=40, repeats=60)
    step = found.grid[1] - found.grid[0]
    assert found.density.sum() * step == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    weights = found.weights / len(found.weights)
    assert (weights * found.nodes).sum() == pytest.approx(BULK.mean(), abs=0.15)
    assert (weights * found.nodes**2).sum() == pytest.approx((BULK**2).mean(), rel=0.15)
    assert found.nodes.max() == pytest.approx(55, rel=1e-6)
    assert found.nodes.min() == pytest.approx(-60, rel=1e-6)


def test_a_spectrum_of_two_values_has_two_peaks_of_their_weight() -> None:
    found = spectral_density(quadratic(np.repeat([1.0, 4.0], [150, 50])), repeats=20)
    low = found.grid < 2.5
    step = found.grid[1] - found.grid[0]
    assert found.density[low].sum() * step == pytest.approx(0.75, abs=0.03)
    assert found.grid[low][found.density[low].argmax()] == pytest.approx(1, abs=0.02)


def test_the_same_call_twice_gives_the_same_numbers_and_another_seed_others() -> None:
    operator = quadratic(BULK)
    assert np.array_equal(top_eigenvalues(operator, 2, seed=1).values, top_eigenvalues(operator, 2, seed=1).values)
    trace, same, another = (estimate_trace(operator, seed=seed).value for seed in (1, 1, 2))
    assert trace == same != another
    first, again, other = (spectral_density(operator, seed=seed, steps=10).density for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_zero_matrix_has_all_its_density_at_zero() -> None:
    found = spectral_density(quadratic(np.zeros(100)), steps=10)
    assert found.grid[found.density.argmax()] == pytest.approx(0, abs=0.01)
    assert estimate_trace(quadratic(np.zeros(100)), products=9).value == 0


def test_mistakes_are_refused() -> None:
    operator = quadratic(BULK)
    with pytest.raises(UserError, match="k=201"):
        top_eigenvalues(operator, 201)
    with pytest.raises(UserError, match="number of products is 2"):
        estimate_trace(operator, products=2)
    with pytest.raises(UserError, match="steps=0"):
        spectral_density(operator, steps=0)
    with pytest.raises(TicketDietError, match="converged in 1"):
        top_eigenvalues(quadratic(np.linspace(0, 1, 400)), 20, tolerance=1e-14, max_iterations=1)
