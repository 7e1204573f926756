"""Rows of arrays, written lane after lane or all at once."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def write_row(saved: Array, row: Array, value: Array) -> Array:
    """Writes a row, lane after lane where each has its own."""
    if row.ndim == 0:
        return lax.dynamic_update_slice_in_dim(saved, value[None], row, axis=0)
    zeros = [jnp.zeros((), row.dtype)] * (value.ndim - 1)

    def one(lane: Array, saved: Array) -> Array:
        column = lax.dynamic_slice_in_dim(value, lane, 1, axis=-1)[None]
        number = lax.dynamic_index_in_dim(row, lane, keepdims=False)
        return lax.dynamic_update_slice(saved, column, (number, *zeros, lane.astype(row.dtype)))

    return lax.fori_loop(0, row.shape[0], one, saved)


def scatter_row(saved: Array, row: Array, value: Array) -> Array:
    """Writes a row, all lanes at once."""
    if row.ndim == 0:
        return lax.dynamic_update_slice_in_dim(saved, value[None], row, axis=0)
    lanes = jnp.arange(row.shape[0])
    return saved.at[row, ..., lanes].set(jnp.moveaxis(value, -1, 0))
