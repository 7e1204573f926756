"""GMRES: linear systems known by their products alone, many side by side.

Saad and Schultz, *GMRES: A generalized minimal residual algorithm for solving nonsymmetric linear
systems*, SIAM J. Sci. Stat. Comput. 7, 1986; with the modified Gram-Schmidt process, restarted.
`jax.scipy.sparse.linalg.gmres` has no lanes along a last axis, and tells neither what is left nor
how many products it took.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .rounding import norm

# A restart that leaves more than this part of the residual was in vain.
IN_VAIN = 0.9


class Solution(eqx.Module):
    """What GMRES found: the residual that is `left`, which systems are `solved`, and how many
    `products` there were, each of all systems."""

    x: Float[Array, "systems n *lanes"]
    left: Float[Array, "systems n *lanes"]
    solved: Bool[Array, "systems *lanes"]
    products: Int[Array, ""]


class _Restarts(eqx.Module):
    """A solution on its way, with the size of what is left, and which systems are `active`."""

    x: Array
    left: Array
    size: Array
    active: Array
    products: Array


class _Krylov(eqx.Module):
    """The space that a restart spans.

    - `basis`: its orthonormal vectors, `[restart + 1, systems, n, *lanes]`, of `count` products.
    - `rotation`: what makes the products' matrix triangular, `[restart + 1, restart + 1, ...]`;
      `triangle`, that matrix, `[restart, restart, systems, *lanes]`, with units for the columns of
      systems that are solved already; `heights`, the right-hand side in the basis, rotated.
    - `used`: how many vectors a system's solution is made of; `active`: which are not solved.
    """

    basis: Array
    count: Array
    rotation: Array
    triangle: Array
    heights: Array
    used: Array
    active: Array


def gmres(
    product: Callable[[Array], Array],
    right: Float[Array, "systems n *lanes"],
    tolerance: Float[Array, "systems *lanes"],
    restart: int,
    most: int,
) -> Solution:
    """The x with product(x) = right, for each system, up to a residual of its `tolerance`.

    **Arguments:** `product` is linear and takes each system to itself; `tolerance` is the Euclidean
    norm of the residual that may be left. After `restart` products the search starts anew from
    where it came; it ends after `most` products, or up to `restart` more.
    """
    restart = min(restart, right.shape[1], most)
    size = norm(right, 1)
    start = _Restarts(jnp.zeros_like(right), right, size, size > tolerance, jnp.int32(0))

    def turn(now: _Restarts) -> _Restarts:
        space = _spanned(product, now, tolerance, restart)
        step = now.size[:, None] * _combined(space)
        x = jnp.where(now.active[:, None], now.x + step, now.x)
        left = right - product(x)
        size = norm(left, 1)
        active = (size > tolerance) & (size < IN_VAIN * now.size)
        return _Restarts(x, left, size, active, now.products + space.count + 1)

    def goes_on(now: _Restarts) -> Array:
        return jnp.any(now.active) & (now.products < most)

    end = lax.while_loop(goes_on, turn, start)
    return Solution(end.x, end.left, end.size <= tolerance, end.products)


def _spanned(
    product: Callable[[Array], Array], now: _Restarts, tolerance: Array, restart: int
) -> _Krylov:
    """The space of one restart: products until all systems are solved in it."""
    size = jnp.where(now.size > 0, now.size, 1)
    target = tolerance / size
    first = now.left / size[:, None]
    lanes, dtype = now.size.shape, first.dtype

    def unit(count: int) -> Array:
        matrix = jnp.eye(count, dtype=dtype).reshape(count, count, *(1,) * len(lanes))
        return jnp.broadcast_to(matrix, (count, count, *lanes))

    start = _Krylov(
        basis=jnp.zeros((restart + 1, *first.shape), dtype).at[0].set(first),
        count=jnp.int32(0),
        rotation=unit(restart + 1),
        triangle=unit(restart),
        heights=jnp.zeros((restart + 1, *lanes), dtype).at[0].set(1),
        used=jnp.zeros(lanes, jnp.int32),
        active=now.active,
    )

    def goes_on(space: _Krylov) -> Array:
        return jnp.any(space.active) & (space.count < restart)

    return lax.while_loop(goes_on, lambda space: _longer(product, space, target), start)


def _longer(product: Callable[[Array], Array], space: _Krylov, target: Array) -> _Krylov:
    """The space with one more vector."""
    k, active = space.count, space.active
    vector = product(_row(space.basis, k))
    column = jnp.zeros_like(space.heights)

    def orthogonalized(j: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        vector, column = now
        known = _row(space.basis, j)
        along = lax.reduce_sum(known * vector, (1,))
        return vector - along[:, None] * known, _with_row(column, j, along)

    vector, column = lax.fori_loop(0, k + 1, orthogonalized, (vector, column))
    size = lax.sqrt(lax.reduce_sum(vector * vector, (1,)))
    vector = vector / jnp.where(size > 0, size, 1)[:, None]
    column = lax.reduce_sum(space.rotation * column[None], (1,))
    a, b = _row(column, k), size
    length = jnp.hypot(a, b)
    cosine, sine = (jnp.where(length > 0, x / length, 0) for x in (a, b))
    one, other = _row(space.rotation, k), _row(space.rotation, k + 1)
    rotation = _with_row(space.rotation, k, cosine * one + sine * other)
    rotation = _with_row(rotation, k + 1, cosine * other - sine * one)
    height = _row(space.heights, k)
    heights = _with_row(space.heights, k, jnp.where(active, cosine * height, height))
    heights = _with_row(heights, k + 1, jnp.where(active, -sine * height, 0))
    column = _with_row(column, k, length)[: len(space.triangle)]
    old = lax.dynamic_index_in_dim(space.triangle, k, 1, keepdims=False)
    # A NaN ends the search: `abs` of it is above no target.
    column = jnp.where(active, column, old)
    return _Krylov(
        basis=_with_row(space.basis, k + 1, vector),
        count=k + 1,
        rotation=rotation,
        triangle=lax.dynamic_update_index_in_dim(space.triangle, column, k, 1),
        heights=heights,
        used=space.used + active,
        active=active & (lax.abs(sine * height) > target),
    )


def _combined(space: _Krylov) -> Array:
    """The vector of a space whose residual is least, `[systems, n, *lanes]`."""
    rows = len(space.triangle)
    numbers = lax.broadcasted_iota(jnp.int32, (rows, *space.used.shape), 0)
    right = jnp.where(numbers < space.used[None], space.heights[:rows], 0)

    def back(turn: Array, found: Array) -> Array:
        i = space.count - 1 - turn
        # The entries of `found` from i on are still 0.
        rest = _row(right, i) - lax.reduce_sum(_row(space.triangle, i) * found, (0,))
        diagonal = _row(_row(space.triangle, i), i)
        return _with_row(found, i, rest / diagonal)

    weights = lax.fori_loop(0, space.count, back, jnp.zeros_like(right))

    def add(j: Array, total: Array) -> Array:
        return total + _row(weights, j)[:, None] * _row(space.basis, j)

    return lax.fori_loop(0, space.count, add, jnp.zeros_like(space.basis[0]))


def _row(values: Array, index: Any) -> Array:
    return lax.dynamic_index_in_dim(values, index, keepdims=False)


def _with_row(values: Array, index: Any, row: Array) -> Array:
    return lax.dynamic_update_index_in_dim(values, row, index, 0)
