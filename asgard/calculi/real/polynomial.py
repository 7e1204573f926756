"""The polynomial of a step: c₀ + s (c₁ + c₂ v + c₃ v² + ...), where v = s - centre.

s is the time from the step's start in a unit. With the centre 0 these are the powers of s.
Everything here may have lanes: one more axis at the end.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

# So many powers or fewer are found one from the other.
FEW = 8


def polynomial_at(coefficients: Array, offset: Array) -> Array:
    """The sum of coefficients[k] offset^k; the offset is broadcast against a coefficient."""
    return _horner(*_rows_and_offset(coefficients, offset))


def polynomial_slope_at(coefficients: Array, offset: Array) -> Array:
    """The derivative of `polynomial_at` along the offset.

    The rows are multiplied by their orders here and not beforehand: for a tile of lanes they fill
    the cache of a core.
    """
    rows, factor = _rows_and_offset(coefficients, offset)
    by_order = [lax.mul(row, lax.full_like(row, k)) for k, row in enumerate(rows) if k > 0]
    return _horner(by_order, factor)


def _rows_and_offset(coefficients: Array, offset: Array) -> tuple[Sequence[Array], Array]:
    """The coefficients one by one, and the offset, all with one axis more in front."""
    # Plain lax operations: this is traced many times, and jnp's indexing takes most of that time.
    # Each row keeps its axis to the end: XLA moves a reshape over one operation in a pass over the
    # whole program, so one in each term costs as many passes as there are terms.
    order, *shape = jnp.broadcast_shapes(coefficients.shape, offset.shape)
    if coefficients.shape[1:] != tuple(shape):
        coefficients = lax.broadcast_in_dim(coefficients, (order, *shape), range(coefficients.ndim))
    rows = lax.split(coefficients, (1,) * order)
    factor = lax.convert_element_type(offset, coefficients.dtype)
    places = range(1 + len(shape) - factor.ndim, 1 + len(shape))
    return rows, lax.broadcast_in_dim(factor, (1, *shape), places)


def _horner(rows: Sequence[Array], factor: Array) -> Array:
    *rest, value = rows
    while rest:
        value = lax.add(lax.mul(value, factor), rest.pop())
    return lax.squeeze(value, (0,))


def value_at(coefficients: Array, part: Array, centre: Any) -> Array:
    """The value of a step's polynomial at a part s of its unit.

    That is c₀ + s (c₁ + c₂ v + c₃ v² + ...) with v = s - centre. A centre in the middle of the step
    keeps the digits that powers of s lose: in float32 an oscillator's saved values were off by 1e-4
    under a method of 7 stages.
    """
    if len(coefficients) == 1:
        return coefficients[0]
    return coefficients[0] + polynomial_at(coefficients[1:], part - centre) * part


def change_and_slope(coefficients: Array, part: Array, centre: Any) -> tuple[Array, Array]:
    """`value_at` without c₀, and its derivative along the part.

    It is a loop that is unrolled only as it is compiled: short to trace, and a thermostat of 250
    switches took 0.5 ms in place of 1.5 ms.
    """

    def turn(carry: tuple[Array, Array], row: Array) -> tuple[tuple[Array, Array], None]:
        value, slope = carry
        return (value * by + row, slope * by + value), None

    by = (part - centre).astype(coefficients.dtype)
    rows, zero = coefficients[1:], jnp.zeros_like(coefficients[0])
    (value, slope), _ = lax.scan(turn, (zero, zero), rows, reverse=True, unroll=True)
    part = part.astype(coefficients.dtype)
    return value * part, value + slope * part


def series_about(coefficients: Array, part: Array, centre: Any, count: int) -> Array:
    """The first terms of a step's polynomial in powers of s - part, `[count, ...]`."""

    def times(found: Array, factor: Array) -> Array:
        """The terms times (factor + the variable)."""
        before = jnp.concatenate([jnp.zeros_like(found[:1]), found[:-1]])
        return found * factor + before

    def turn(found: Array, row: Array) -> tuple[Array, None]:
        found = times(found, by)
        return jnp.concatenate([found[:1] + row, found[1:]]), None

    part = part.astype(coefficients.dtype)
    by = part - centre
    blank = jnp.zeros((count, *coefficients.shape[1:]), coefficients.dtype)
    found, _ = lax.scan(turn, blank, coefficients[1:], reverse=True, unroll=True)
    found = times(found, part)
    return jnp.concatenate([found[:1] + coefficients[:1], found[1:]])


@jax.custom_jvp
def sum_of_powers(rows: Array, offset: Array) -> Array:
    """The sum of rows[k] offset^k, in few operations.

    Its derivatives of any order are sums of powers too. Those of Horner's scheme for 20 terms took
    1.5 times as long to compile in a gradient through events, and 2.5 times as long to run.
    """
    if len(rows) <= FEW:
        return polynomial_at(rows, offset)
    shape = (len(rows), *offset.shape)
    powers = np.arange(len(rows), dtype=np.int32).reshape(-1, *(1,) * offset.ndim)
    powers = lax.pow(jnp.broadcast_to(offset, shape), jnp.broadcast_to(powers, shape))
    return jnp.sum(rows * powers[: len(rows), None], axis=0)


@sum_of_powers.defjvp
def _sum_of_powers_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (rows, offset), (moved, shift) = primals, tangents
    value = sum_of_powers(rows, offset)
    if len(rows) == 1:
        return value, sum_of_powers(moved, offset)
    degrees = orders(rows)[1:]
    slope = sum_of_powers(rows[1:] * degrees, offset)
    return value, sum_of_powers(moved, offset) + slope * shift.astype(rows.dtype)


def rescaled(rows: Array, ratio: Array, centre: float) -> Array:
    """The rows of a polynomial from order 1 on, in another unit that is `ratio` times as long.

    In place of s q(s - centre) it is r s q(r s - centre) with the ratio r; the argument of q is
    r v + (r - 1) centre with v = s - centre.
    """
    shift, found = (ratio - 1) * centre, rows[-1:]
    for row in rows[-2::-1]:
        nothing = jnp.zeros_like(row)[None]
        by_v = jnp.concatenate([nothing, found]) * ratio
        by_one = jnp.concatenate([found, nothing]) * shift
        total = by_v + by_one
        # No update of an entry, which no kernel has.
        found = jnp.concatenate([total[:1] + row, total[1:]])
    return found * ratio


def centred(powers: np.ndarray, centre: float) -> np.ndarray:
    """Coefficients of s, s², ..., along axis 0, as those of s, s v, s v², ...; v = s - centre."""
    degree = len(powers)
    shifts = [
        [math.comb(k, j) * centre ** (k - j) if k >= j else 0.0 for k in range(degree)]
        for j in range(degree)
    ]
    return np.tensordot(np.array(shifts), powers, 1)


def orders(coefficients: Array) -> np.ndarray:
    """The order of each coefficient, beside it."""
    dtype = jnp.finfo(coefficients.dtype).dtype
    orders = np.arange(coefficients.shape[0], dtype=dtype)
    return orders.reshape((-1,) + (1,) * (coefficients.ndim - 1))
