"""The products among JAX's primitives: on two coefficients, and on two stacks of them, summed."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..series import Product


def dot_general(params: dict[str, Any]) -> Product:
    """A dot product of two coefficients; for stacks of them it contracts the order, too."""
    single = params["dimension_numbers"]
    (left, right), (left_batch, right_batch) = single
    options = {name: params[name] for name in ("precision", "preferred_element_type")}

    def later(axes):
        return tuple(axis + 1 for axis in axes)

    stacked = ((0, *later(left)), (0, *later(right))), (later(left_batch), later(right_batch))
    return Product(
        functools.partial(
            lax.dot_general, **options, dimension_numbers=params["dimension_numbers"]
        ),
        functools.partial(lax.dot_general, **options, dimension_numbers=stacked),
    )


def convolution(params: dict[str, Any]) -> Product:
    """A convolution of two coefficients; for stacks of them one for each order, summed."""
    pair = functools.partial(lax.conv_general_dilated_p.bind, **params)
    return Product(pair, lambda a, b: jnp.sum(jax.vmap(pair)(a, b), axis=0))
