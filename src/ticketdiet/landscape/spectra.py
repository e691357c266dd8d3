"""Eigenvalues, trace and spectral density of a symmetric operator that is known only by its products.

Lanczos for the top eigenvalues (scipy's ARPACK), Hutch++ for the trace (Meyer et al., arXiv 2010.09649), stochastic
Lanczos quadrature for the density (Ghorbani et al., arXiv 1901.10159). Every start vector comes from the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from ticketdiet.core.errors import TicketDietError, UserError
from ticketdiet.core.seeds import numpy_generator
from ticketdiet.landscape.curvature import CurvatureOperator, CurvatureSetting, Vector

Matrix2d = NDArray[np.float64]

DENSE_DIMENSION = 64  # up to here the whole matrix is cheaper than Lanczos, and exact


@dataclass(frozen=True, eq=False)
class TopEigenvalues:
    """The largest eigenvalues.

    Attributes:
        values: float64 (k,), descending by value.
        setting: Of which matrix.
        seed: Seed of the start vector.
    """

    values: Vector
    setting: CurvatureSetting
    seed: int


@dataclass(frozen=True)
class TraceEstimate:
    """The trace, estimated.

    Attributes:
        value: The estimate; exact when ``products`` reaches the dimension.
        standard_error: Of the random part, from its spread; 0 when exact, NaN when there is only one sample.
        products: Products with the matrix that were spent.
        setting: Of which matrix.
        seed: Seed of the random vectors.
    """

    value: float
    standard_error: float
    products: int
    setting: CurvatureSetting
    seed: int


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The density of eigenvalues, smoothed.

    Attributes:
        grid: float64 (points,): eigenvalues.
        density: float64 (points,); integrates to 1.
        nodes: float64 (repeats, steps): eigenvalues that Lanczos saw (Ritz values).
        weights: float64 (repeats, steps): the fraction of the spectrum that each represents; every row sums to 1.
        bandwidth: Standard deviation of the smoothing, in units of the eigenvalue.
        setting: Of which matrix.
        seed: Seed of the start vectors.
    """

    grid: Vector
    density: Vector
    nodes: Matrix2d
    weights: Matrix2d
    bandwidth: float
    setting: CurvatureSetting
    seed: int


def top_eigenvalues(
    operator: CurvatureOperator, k: int = 5, *, seed: int = 0, tolerance: float = 1e-3, max_iterations: int = 200
) -> TopEigenvalues:
    """Return the ``k`` largest eigenvalues.

    Args:
        operator: A symmetric operator.
        k: How many, at most the dimension.
        seed: Seed of the start vector.
        tolerance: Relative accuracy.
        max_iterations: Restarts of Lanczos before giving up.

    Returns:
        The eigenvalues, descending.

    Raises:
        UserError: When k is not in ``[1, dimension]``.
        TicketDietError: When Lanczos does not converge.
    """
    dimension = operator.dimension
    if not 1 <= k <= dimension:
        raise UserError(
            f"A matrix of dimension {dimension} does not have k={k} eigenvalues.",
            expected=f"k in [1, {dimension}]",
            way_out="ask for fewer, or for at least one",
        )
    if dimension <= max(DENSE_DIMENSION, 2 * k):
        values = np.linalg.eigvalsh(_dense(operator))[::-1][:k].astype(np.float64)
        return TopEigenvalues(values, operator.setting, seed)
    linear = LinearOperator((dimension, dimension), matvec=operator.multiply, dtype=np.float64)
    start = numpy_generator(seed, "lanczos").standard_normal(dimension)
    try:
        found = eigsh(linear, k, which="LA", v0=start, tol=tolerance, maxiter=max_iterations, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise TicketDietError(
            f"Only {len(error.eigenvalues)} of {k} eigenvalues converged in {max_iterations} restarts.",
            expected=f"relative accuracy {tolerance}",
            way_out="a larger tolerance, more max_iterations, or fewer eigenvalues",
        ) from error
    return TopEigenvalues(np.sort(found)[::-1].copy(), operator.setting, seed)


def estimate_trace(operator: CurvatureOperator, *, products: int = 60, seed: int = 0) -> TraceEstimate:
    """Estimate the trace by Hutch++: exact on a subspace that catches the large eigenvalues, sampled on the rest.

    Args:
        operator: A symmetric operator.
        products: Products with the matrix to spend, at least 3: a third each for finding the subspace, the trace on it,
            and the samples. With as many as the dimension the trace is computed exactly.
        seed: Seed of the random signs.

    Returns:
        The estimate with its standard error.

    Raises:
        UserError: For fewer than 3 products.
    """
    dimension = operator.dimension
    if products < 3:
        raise UserError(f"The number of products is {products}.", expected="at least 3", way_out="60 is a good start")
    if products >= dimension:
        return TraceEstimate(float(np.trace(_dense(operator))), 0.0, dimension, operator.setting, seed)
    third = products // 3
    signs = numpy_generator(seed, "trace").choice((-1.0, 1.0), size=(2, dimension, third))
    basis, _ = np.linalg.qr(_columns(operator, signs[0]))
    on_basis = float((basis * _columns(operator, basis)).sum())
    rest = signs[1] - basis @ (basis.T @ signs[1])
    samples = (rest * _columns(operator, rest)).sum(axis=0)
    error = float(samples.std(ddof=1)) / math.sqrt(third) if third > 1 else math.nan
    return TraceEstimate(on_basis + float(samples.mean()), error, 3 * third, operator.setting, seed)


def spectral_density(
    operator: CurvatureOperator,
    *,
    steps: int = 60,
    repeats: int = 4,
    points: int = 1000,
    bandwidth: float = 0.01,
    seed: int = 0,
) -> SpectralDensity:
    """Estimate the density of eigenvalues by stochastic Lanczos quadrature.

    Args:
        operator: A symmetric operator.
        steps: Lanczos steps (products) per repeat; more resolve finer structure. Memory is steps x dimension float64.
        repeats: Random start vectors to average over.
        points: Points of the grid.
        bandwidth: Standard deviation of the Gaussian smoothing, as a fraction of the range of eigenvalues.
        seed: Seed of the start vectors.

    Returns:
        The density on a grid, with the eigenvalues that it was smoothed from.

    Raises:
        UserError: When a number is not positive.
    """
    if min(steps, repeats, points) < 1 or not bandwidth > 0:
        raise UserError(
            f"The density has steps={steps}, repeats={repeats}, points={points}, bandwidth={bandwidth}.",
            expected="positive numbers",
            way_out="leave them out for the defaults",
        )
    count = min(steps, operator.dimension)
    runs = []
    for repeat in range(repeats):
        start = numpy_generator(seed, "density", repeat).choice((-1.0, 1.0), size=operator.dimension)
        runs.append(_lanczos_quadrature(operator, start, count))
    nodes, weights = (np.stack([run[part] for run in runs]) for part in (0, 1))
    span = float(nodes.max() - nodes.min()) or 1.0
    sigma = bandwidth * span
    grid = np.linspace(nodes.min() - 5 * sigma, nodes.max() + 5 * sigma, points)
    bumps = np.exp(-0.5 * ((grid[:, None] - nodes.reshape(1, -1)) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    density = bumps @ weights.reshape(-1) / repeats
    return SpectralDensity(grid, density, nodes, weights, sigma, operator.setting, seed)


def _lanczos_quadrature(operator: CurvatureOperator, start: Vector, steps: int) -> tuple[Vector, Vector]:
    """Return Ritz values and their weights; padded by zero-weight nodes when Lanczos ends early."""
    basis = np.empty((steps, len(start)))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    vector, done = start / np.linalg.norm(start), steps
    for step in range(steps):
        basis[step] = vector
        product = operator.multiply(vector)
        diagonal[step] = vector @ product
        # Twice is enough: without reorthogonalisation Lanczos repeats converged eigenvalues as ghosts.
        for _ in range(2):
            product = product - basis[: step + 1].T @ (basis[: step + 1] @ product)
        beside[step] = np.linalg.norm(product)
        if beside[step] <= 1e-10 * max(1e-300, np.abs(diagonal[: step + 1]).max(), beside[: step + 1].max()):
            done = step + 1
            break
        vector = product / beside[step]
    values, vectors = eigh_tridiagonal(diagonal[:done], beside[: done - 1])
    padding = steps - done
    return np.append(values, np.full(padding, values[0])), np.append(vectors[0] ** 2, np.zeros(padding))


def _columns(operator: CurvatureOperator, columns: Matrix2d) -> Matrix2d:
    return np.stack([operator.multiply(column) for column in columns.T], axis=1)


def _dense(operator: CurvatureOperator) -> Matrix2d:
    matrix = _columns(operator, np.eye(operator.dimension))
    return (matrix + matrix.T) / 2
