"""Sums and extremes along the first axis, written out where there are few rows.

XLA's CPU backend allocates three buffers for each reduction of a program whenever the program is
called (0.07 µs each), and does not vectorise one along the first axis of an array with lanes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from jax import lax
from jaxtyping import Array, Float, Inexact

from .fences import largest_of, smallest_of

# So many rows are written out.
FEW = 8


def total(values: Inexact[Array, "rows ..."]) -> Inexact[Array, "..."]:
    """The sum of the rows."""
    return _over_rows(lax.add, lax.reduce_sum, values)


def largest(values: Float[Array, "rows ..."]) -> Float[Array, "..."]:
    """The largest of the rows; NaN where one of them is."""
    return _over_rows(lax.max, largest_of, values)


def smallest(values: Float[Array, "rows ..."]) -> Float[Array, "..."]:
    """The smallest of the rows; NaN where one of them is."""
    return _over_rows(lax.min, smallest_of, values)


def _over_rows(
    pair: Callable[[Any, Any], Any], whole: Callable[[Any, Sequence[int]], Any], values: Array
) -> Array:
    if not 0 < values.shape[0] <= FEW:
        return whole(values, (0,))
    return functools.reduce(
        pair, (lax.index_in_dim(values, row, 0, False) for row in range(values.shape[0]))
    )
