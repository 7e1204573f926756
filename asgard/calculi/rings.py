"""Rings of what a delay holds: an array whose last axis is the columns of a ring."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def written(held: Array, value: Array, number: Array, rows: int) -> Array:
    """A ring of `rows` columns, `[*value, rows]`, with the value of a number in its column.

    `held` may lack the value's shape, and have one column that stands for all.
    """
    dtype = jnp.promote_types(held.dtype, value.dtype)
    shape = jnp.broadcast_shapes(value.shape, held.shape[:-1])
    held = jnp.broadcast_to(held, (*shape, rows)).astype(dtype)
    value = jnp.broadcast_to(value, shape).astype(dtype)
    return lax.dynamic_update_index_in_dim(held, value, jnp.mod(number, rows), -1)
