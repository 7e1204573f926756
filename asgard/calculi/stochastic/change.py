"""What the contents of a stochastic equation change by."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..pointwise import Contents


class Change(eqx.Module):
    """A change of the contents: `parts` has one array for each register.

    Changes add up, and take numbers as factors. `Stage.plus` adds them to contents.
    """

    # Arrays and numbers of NumPy leave their product with a change to it.
    __array_ufunc__ = None

    parts: Contents

    def __add__(self, other: "Change") -> "Change":
        return jax.tree.map(lambda one, other: one + other, self, other)

    def __sub__(self, other: "Change") -> "Change":
        return self + -1 * other

    def __mul__(self, factor: Any) -> "Change":
        def product(part: Array) -> Array:
            return part * jnp.asarray(factor).astype(part.dtype)

        return jax.tree.map(product, self)

    __rmul__ = __mul__
