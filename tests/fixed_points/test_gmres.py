"""GMRES on systems side by side, each known by its products alone."""

import jax
import jax.numpy as jnp
import numpy as np

from asgard.fixed_points.gmres import gmres

SIZE = 24


def solved(matrices, right, restart=SIZE, most=100, tolerance=1e-9):
    """What GMRES finds for matrices `[n, n, lanes]` and right-hand sides `[1, n, lanes]`."""
    matrices = jnp.asarray(matrices)

    def product(v):
        return jnp.einsum("ijl,sjl->sil", matrices, v)

    @jax.jit
    def run(right):
        allowed = jnp.full((1, right.shape[-1]), tolerance)
        return gmres(product, right, allowed, restart, most)

    return run(jnp.asarray(right))


def test_lanes_end_each_by_itself_and_a_singular_one_spoils_none():
    random = np.random.default_rng(0)
    easy, general = 2.0 * np.eye(SIZE), 3.0 * np.eye(SIZE) + 0.4 * random.normal(size=(SIZE, SIZE))
    stiff, singular = np.diag(np.linspace(1.0, 1e3, SIZE)), np.zeros((SIZE, SIZE))
    matrices = np.stack([easy, general, stiff, singular], axis=-1)
    right = random.normal(size=(1, SIZE, 4)) * [1.0, 1e-20, 1e20, 1.0]
    found = solved(matrices, right, tolerance=1e-9)
    # A right-hand side below the tolerance asks for nothing.
    np.testing.assert_array_equal(found.solved, [[True, True, False, False]])
    np.testing.assert_allclose(found.x[0, :, 0], right[0, :, 0] / 2, rtol=1e-14)
    np.testing.assert_array_equal(found.x[0, :, 1], 0)
    exact = right[0, :, 2] / np.diag(stiff)
    np.testing.assert_allclose(found.x[0, :, 2], exact, atol=1e-12 * np.abs(exact).max())
    assert found.products < 100


def test_restarts_find_the_same_with_more_products():
    random = np.random.default_rng(1)
    matrix = (4.0 * np.eye(SIZE) + random.normal(size=(SIZE, SIZE)) / 2)[..., None]
    right = random.normal(size=(1, SIZE, 1))
    exact = np.linalg.solve(matrix[..., 0], right[0, :, 0])
    whole, restarted = solved(matrix, right), solved(matrix, right, restart=8)
    for found in (whole, restarted):
        assert found.solved.all()
        np.testing.assert_allclose(found.x[0, :, 0], exact, atol=1e-9)
        left = right[0, :, 0] - matrix[..., 0] @ found.x[0, :, 0]
        np.testing.assert_allclose(found.left[0, :, 0], left, atol=1e-13)
    assert whole.products <= SIZE + 1 < restarted.products


def test_no_more_products_than_are_allowed():
    """A cyclic shift is the matrix on which GMRES finds nothing before the last product."""
    shift = np.roll(np.eye(SIZE), 1, axis=0)[..., None]
    right = np.eye(SIZE)[:1, :, None]
    found = solved(shift, right, restart=8, most=40)
    assert not found.solved.any()
    assert found.products <= 9  # a restart that gains nothing is the last
    assert solved(shift, right).solved.all()
