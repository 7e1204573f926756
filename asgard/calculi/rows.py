"""Arrays with a row for each path, or for each time."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def chosen(rows: Bool[Array, " rows"], first: Any, second: Any) -> Any:
    """Of all arrays `[rows, …]` of two trees the chosen rows of the first, else those of the
    second."""
    return jax.tree.map(lambda x, y: jnp.where(_like(rows, x), x, y), first, second)


def only(rows: Bool[Array, " rows"], tree: Any) -> Any:
    """The chosen rows of all arrays `[rows, …]` of a tree, NaN for the others."""

    def one(array: Array) -> Array:
        masked = jnp.where(_like(rows, array), array, jnp.nan)
        return jax.lax.convert_element_type(masked, array.dtype)

    return jax.tree.map(one, tree)


def finite(tree: Any, count: int) -> Bool[Array, " rows"]:
    """Whether all that each of `count` rows has in the arrays of a tree is finite."""
    found = jnp.ones(count, bool)
    for leaf in jax.tree.leaves(tree):
        found &= jnp.all(jnp.isfinite(leaf).reshape(count, -1), axis=1)
    return found


def _like(rows: Array, array: Array) -> Array:
    """Truths `[rows]` with the axes of an array `[rows, …]`."""
    return rows.reshape(-1, *(1,) * (array.ndim - 1))
