"""The guards of a step as series: their values, and how far these hold.

Everything here may have lanes: one more axis at the end.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .crossing import Values
from .polynomial import change_and_slope

# How large the last terms of a guard's series may be, in units of rounding.
SERIES = 1024.0


def by_series(series: Array, direction: Array) -> Values:
    """The guards along a step, by their series."""

    def values(distance: Array) -> tuple[Array, Array]:
        change, slope = change_and_slope(series, direction * distance, 0.0)
        return series[0] + change, slope * direction.astype(slope.dtype)

    return values


class Extent(eqx.Module):
    """How far the series of guards hold, and whether none of them can pass zero until there."""

    size: Float[Array, "*lanes"]
    excluded: Bool[Array, "*lanes"]


def extent_of(series: Array, size: Array, sides: Array) -> Extent:
    """How far series `[orders, guards, *lanes]` hold in a step of a size."""

    def turn(carry: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], Array]:
        total, power = carry
        power = power * size.astype(power.dtype)
        term = jnp.abs(row) * power
        return (total + term, power), term

    first = jnp.abs(series[0])
    begun = jnp.zeros_like(first), jnp.ones_like(first)
    # Unrolled, as a turn is less work than going round.
    (total, _), terms = lax.scan(turn, begun, series[1:], unroll=True)
    last = jnp.maximum(terms[-1], terms[-2])
    allowed = SERIES * jnp.finfo(series.dtype).eps * (first + total)
    order = len(series) - 1
    part = (allowed / jnp.where(last > 0, last, 1)) ** (1 / order)
    part = jnp.min(jnp.where(last > allowed, part, 1), axis=0).astype(size.dtype)
    clear = (first > 1.01 * total) & ((series[0] > 0) == sides)
    return Extent(part * size, jnp.all(clear, axis=0) & (part >= 1))
