"""Linear systems: small ones by elementwise operations, which kernels and lanes can hold; larger
ones by LAPACK; those without a matrix by GMRES.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from .gmres import gmres
from .rounding import norm

# Up to so many unknowns elimination by elementwise operations beats a call of LAPACK.
SMALL = 8
# Up to so many unknowns a Jacobian is formed.
DENSE = 512
# GMRES restarts after so many products, and so many times at most.
RESTART, CYCLES = 50, 200


def solve(matrix: Inexact[Array, "n n"], right: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
    """The x with matrix x = right; infinite or NaN if there is none.

    It is differentiable in both, and linear in `right`. Its derivatives are solves again.
    """
    if matrix.shape[0] == 1:
        return right / matrix[0]
    if matrix.shape[0] > SMALL:
        return jnp.linalg.solve(matrix, right)

    def by(one: Array) -> Any:
        return lambda _, right: eliminate(one, right[:, None])[:, 0]

    return lax.custom_linear_solve(
        lambda x: jnp.sum(matrix * x, axis=1), right, by(matrix), by(matrix.T)
    )


def inverse(matrix: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    """The inverse; infinite or NaN if there is none. It is differentiable."""
    unit = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    if matrix.shape[0] == 1:
        return 1 / matrix
    if matrix.shape[0] > SMALL:
        return jnp.linalg.solve(matrix, unit)

    def by(one: Array) -> Any:
        return lambda _, right: eliminate(one, right)

    def product(x: Array) -> Array:
        return jnp.sum(matrix[:, :, None] * x[None], axis=1)

    return lax.custom_linear_solve(product, unit, by(matrix), by(matrix.T))


def add_to_diagonal(
    matrix: Inexact[Array, "n n *lanes"], number: float
) -> Inexact[Array, "n n *lanes"]:
    """A matrix plus a multiple of the unit matrix."""
    if matrix.shape[0] == 1:
        return matrix + number
    # No unit matrix: a kernel takes no arrays that are constants.
    rows = lax.broadcasted_iota(jnp.int32, matrix.shape, 0)
    columns = lax.broadcasted_iota(jnp.int32, matrix.shape, 1)
    return jnp.where(rows == columns, matrix + number, matrix)


def solve_in_lanes(
    matrix: Inexact[Array, "n n *lanes"], right: Inexact[Array, "n *lanes"]
) -> Inexact[Array, "n *lanes"]:
    """As `solve`, without derivatives, for many systems side by side."""
    if matrix.shape[0] <= SMALL:
        return eliminate(matrix, right[:, None])[:, 0]
    if matrix.ndim == 2:
        return jnp.linalg.solve(matrix, right)
    found = jnp.linalg.solve(jnp.moveaxis(matrix, -1, 0), jnp.moveaxis(right, -1, 0)[..., None])
    return jnp.moveaxis(found[..., 0], 0, -1)


def inverse_in_lanes(matrix: Inexact[Array, "n n *lanes"]) -> Inexact[Array, "n n *lanes"]:
    """As `inverse`, without derivatives, for many matrices side by side."""
    if matrix.shape[0] <= SMALL:
        return eliminate(matrix, add_to_diagonal(jnp.zeros_like(matrix), 1.0))
    return jnp.moveaxis(jnp.linalg.inv(jnp.moveaxis(matrix, (0, 1), (-2, -1))), (-2, -1), (0, 1))


def eliminate(
    matrix: Inexact[Array, "n n *lanes"], right: Inexact[Array, "n k *lanes"]
) -> Inexact[Array, "n k *lanes"]:
    """matrix^-1 right, by Gauss-Jordan elimination with partial pivoting."""
    count = matrix.shape[0]
    if count == 1:
        return right / matrix
    rows = lax.broadcasted_iota(jnp.int32, (count, *matrix.shape[2:]), 0)

    def clear(index: Array, table: Array) -> Array:
        column = lax.dynamic_index_in_dim(table, index, axis=1, keepdims=False)
        size = jnp.where(rows >= index, jnp.abs(column), -1)
        pivot = jnp.argmax(size, axis=0).astype(jnp.int32)  # NaN counts as the largest
        here, there = (rows == index)[:, None], (rows == pivot)[:, None]
        first = lax.dynamic_index_in_dim(table, index, axis=0)
        swapped = jnp.sum(jnp.where(there, table, 0), axis=0, keepdims=True)
        table = jnp.where(here, swapped, jnp.where(there, first, table))
        column = lax.dynamic_index_in_dim(table, index, axis=1)
        row = swapped / lax.dynamic_index_in_dim(swapped, index, axis=1)
        return jnp.where(here, row, table - column * row)

    start = jnp.concatenate([matrix, right], axis=1)
    return lax.fori_loop(0, count, clear, start)[:, count:]


def iterative_solve(product: Callable[[Array], Array], right: Array) -> Array:
    """The x with product(x) = right, by GMRES; NaN if it is not found."""
    tolerance = float(jnp.finfo(right.dtype).eps) ** (7 / 8) * norm(right)
    found = gmres(
        lambda x: product(x[0])[None], right[None], tolerance[None], RESTART, RESTART * CYCLES
    )
    # Restarts lose some digits.
    solved = norm(found.left[0]) <= 1e3 * tolerance
    return jnp.where(solved, found.x[0], jnp.nan)
