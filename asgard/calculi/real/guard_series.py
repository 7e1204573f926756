"""The guards of a step as series: their values, how far these hold, and how long guards are smooth.

Everything here may have lanes: one more axis at the end.
"""

import functools
import math
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .crossing import Values
from .methods.logarithm import exponential, logarithm
from .polynomial import change_and_slope

# How large the last terms of a guard's series may be, in units of rounding.
SERIES = 1024.0
# How little the last terms of a guard's series are beside others where the first terms say what it
# is. For a sine of k t and order 8 that is for 2 / k, in which a cubic is a good picture of it.
LEFT = 0.01
# By how much longer no pulse begins where it is smaller by a power of e. Twice as much would do for
# one that grows as an exponential, four times as much for one of Gauss.
FAR = 0.2


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

    def turn(carry: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], None]:
        total, power = carry
        power = power * size.astype(power.dtype)
        return (total + jnp.abs(row) * power, power), None

    first = jnp.abs(series[0])
    begun = jnp.zeros_like(first), jnp.ones_like(first)
    # Unrolled, as a turn is less work than going round.
    (total, _), _ = lax.scan(turn, begun, series[1:], unroll=True)
    part = jnp.min(_holds(series, size), axis=0).astype(size.dtype)
    clear = (first > 1.01 * total) & ((series[0] > 0) == sides)
    return Extent(part * size, jnp.all(clear, axis=0) & (part >= 1))


def smooth_for(series: Array, size: Array) -> Array:
    """In what part of a step of a size guards are what the first terms of their series say,
    `[guards, *lanes]`.

    What a guard is made of beside a constant may be little now, and grow to a pulse: it grows by
    two powers of e in the part in which the first terms say what it is.
    """
    order = len(series) - 1
    terms = _terms(series, size, range(order + 1))
    last = jnp.maximum(terms[-1], terms[-2])
    parts = [(math.log(LEFT) + terms[k] - last) / (order - k) for k in range(1, order - 1)]
    part = jnp.minimum(functools.reduce(jnp.maximum, parts), 0)
    moves = functools.reduce(jnp.maximum, [terms[k] + k * part for k in range(1, order + 1)])
    longer = jnp.maximum(FAR * (terms[0] - moves), 1)
    found = jnp.minimum(exponential(part) * longer, 1)
    # A series that is no number says nothing.
    return jnp.where((last > -jnp.inf) & (found >= 0), found, 1)


def _holds(series: Array, size: Array) -> Array:
    """In what part of a step of a size the last terms of guards' series are rounding of others.

    Beside the term Tₖ the last one, Tₙ, is rounding in the part p for which Tₙ pⁿ = ε Tₖ pᵏ. In the
    whole of a step that is far too long all terms are large, Tₙ is nothing beside their sum, and
    they may be more than a number can be: so these are their logarithms.
    """
    order = len(series) - 1
    beside = [k for k in (0, 1, 2, 3, order // 2) if k < order - 1]
    terms = _terms(series, size, [*beside, order - 1, order])
    last = jnp.maximum(*terms[-2:])
    rounding = math.log(SERIES * float(jnp.finfo(series.dtype).eps))
    parts = [(rounding + term - last) / (order - k) for k, term in zip(beside, terms, strict=False)]
    part = functools.reduce(jnp.maximum, parts)
    return exponential(jnp.where((last > -jnp.inf) & (part < 0), part, 0))


def _terms(series: Array, size: Array, orders: Sequence[int]) -> list[Array]:
    """The logarithms of the sizes of terms of some orders in the whole of a step."""
    length = logarithm(size).astype(series.dtype)
    sizes = jnp.abs(lax.stop_gradient(jnp.stack([series[k] for k in orders])))
    found = zip(orders, logarithm(sizes), strict=True)
    return [term + (k * length if k else 0) for k, term in found]
