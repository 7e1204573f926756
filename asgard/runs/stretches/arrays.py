"""Arrays of JAX as numbers to save and to compare."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_key(leaf: Any) -> bool:
    """Whether an array is one of random keys."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def as_numbers(leaf: Any) -> np.ndarray:
    """An array as one of NumPy; a key as the numbers that it is."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
