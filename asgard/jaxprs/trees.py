"""Pytrees chosen between."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def select(chosen: Array, one: Any, other: Any) -> Any:
    """`jnp.where` of all arrays of two pytrees, lane by lane."""
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), one, other)
