"""Linear systems of bands, against dense solves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asgard.fixed_points.bands import Pair, factor, solve

RANDOM = np.random.default_rng(3)


def band(count, lower, upper):
    """A random complex band and its rows, without a large diagonal: pivots matter."""
    matrix = RANDOM.normal(size=(count, count)) + 1j * RANDOM.normal(size=(count, count))
    row, column = np.indices((count, count))
    near = (row - column <= lower) & (column - row <= upper)
    matrix = np.where(near, np.where(row == column, 1e-3 * matrix, matrix), 0)
    wide = np.pad(matrix, ((0, 0), (lower, upper)))
    rows = np.stack([wide[i, i : i + lower + 1 + upper] for i in range(count)])
    return matrix, rows


def pair(values):
    return Pair(jnp.asarray(values.real), jnp.asarray(values.imag))


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (2, 3), (3, 1)])
def test_solutions_of_bands_with_pivots(lower, upper):
    matrix, rows = band(20, lower, upper)
    right = RANDOM.normal(size=20) + 1j * RANDOM.normal(size=20)
    found = jax.jit(lambda rows, right: solve(factor(rows, lower), right))(pair(rows), pair(right))
    expected = np.linalg.solve(matrix, right)
    np.testing.assert_allclose(found.real + 1j * found.imaginary, expected, rtol=1e-9)


def test_lanes_have_their_own_pivots():
    matrices, rows = zip(*(band(9, 2, 1) for _ in range(3)), strict=True)
    right = RANDOM.normal(size=(9, 3)) + 0j
    found = solve(factor(pair(np.stack(rows, -1)), 2), pair(right))
    for lane, matrix in enumerate(matrices):
        expected = np.linalg.solve(matrix, right[:, lane])
        values = found.real[:, lane] + 1j * found.imaginary[:, lane]
        np.testing.assert_allclose(values, expected, rtol=1e-9)


def test_a_singular_band_gives_no_finite_solution():
    rows = pair(np.zeros((5, 3), complex))
    found = solve(factor(rows, 1), pair(np.ones(5, complex)))
    assert not np.any(np.isfinite(found.real))
