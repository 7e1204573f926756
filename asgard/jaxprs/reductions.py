"""Sums and extremes along the first axis, or sums along another, written out where there are few
rows.

XLA's CPU backend allocates three buffers for each reduction of a program whenever the program is
called (0.07 µs each), and does not vectorise one along the first axis of an array with lanes.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from .fences import largest_of, smallest_of
from .kernel import LARGEST_SUM

# So many rows are written out.
FEW = 8


def total(values: Inexact[Array, "..."], axis: int = 0) -> Inexact[Array, "..."]:
    """The sum of the rows, which lie along an axis."""
    return _over_rows(lax.add, lax.reduce_sum, values, axis)


def largest(values: Float[Array, "rows ..."]) -> Float[Array, "..."]:
    """The largest of the rows; NaN where one of them is."""
    return _over_rows(lax.max, largest_of, values)


def smallest(values: Float[Array, "rows ..."]) -> Float[Array, "..."]:
    """The smallest of the rows; NaN where one of them is."""
    return _over_rows(lax.min, smallest_of, values)


def combined(
    weights: np.ndarray | Array, rows: Inexact[Array, "rows ..."]
) -> Inexact[Array, "..."]:
    """Sums of rows by weights `[rows, sums]`, `[sums, ...]`; or one sum by weights `[rows]`.

    XLA's CPU backend hands sums of 4,096 numbers and more to a library that is slow where it sums
    over a first axis: 7 rows of 16,384 numbers took 900 µs (jaxlib 0.10.2), as a product 8, and the
    derivative of four such sums 3 ms and 0.1. Kernels hold only shorter sums, and no such products.
    """
    weights = jnp.asarray(weights, rows.dtype)
    count = weights.size * math.prod(rows.shape[1:])
    if not isinstance(count, int) or count >= LARGEST_SUM:  # in exports sizes may be symbols
        numbers = (((0,), (0,)), ((), ()))
        return lax.dot_general(weights, rows, numbers, precision=lax.Precision.HIGHEST)
    weights = weights.reshape(*weights.shape, *(1,) * (rows.ndim - 1))
    if weights.ndim > rows.ndim:
        rows = rows[:, None]
    return lax.reduce_sum(weights * rows, (0,))


def _over_rows(
    pair: Callable[[Any, Any], Any],
    whole: Callable[[Any, Sequence[int]], Any],
    values: Array,
    axis: int = 0,
) -> Array:
    count = values.shape[axis]
    if not 0 < count <= FEW:
        return whole(values, (axis,))
    return functools.reduce(
        pair, (lax.index_in_dim(values, row, axis, False) for row in range(count))
    )
