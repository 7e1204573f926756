"""Logarithms and exponentials to nine digits or fewer, in plain operations.

The sizes of steps need no more. `jnp.log` and `jnp.exp` are a call for each number in a kernel, and
these are vector instructions: of a batch of Lorenz runs by unrolled Taylor steps the calls took an
eighth of the time. None has derivatives.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ....jaxprs.floats import exponent_and_mantissa, polynomial, power_of_two


def logarithm(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """ln x to nine digits of numbers from 0 on: -inf of 0; inf and NaN of themselves.

    Of a number below the normal ones it is some number below that of the smallest of these.
    """
    exponent, m = exponent_and_mantissa(x)
    # ln m = 2 artanh s = 2 (s + s^3 / 3 + ...) with |s| < 0.172.
    s = (m - 1) / (m + 1)
    terms = polynomial([1.0, 1 / 3, 1 / 5, 1 / 7, 1 / 9], s * s)
    found = exponent.astype(x.dtype) * math.log(2) + 2 * s * terms
    return _with_ends(found, x)


def exponential(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """e^y to nine digits: 0 or inf where it is no normal number; NaN of NaN."""
    info = jnp.finfo(y.dtype)
    low, high = info.minexp * math.log(2), info.maxexp * math.log(2)
    exponent = jnp.round(jnp.clip(y, low, high) / math.log(2))
    exponent = jnp.minimum(exponent, info.maxexp - 1)
    # |rest| < 0.35, or 0.7 near the largest number.
    rest = y - exponent * math.log(2)
    terms = polynomial([1 / math.factorial(k) for k in range(10)], rest)
    found = terms * power_of_two(exponent)
    return jnp.where(y < low, 0, jnp.where(y > high, jnp.inf, found))


def short_exponential(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """e^x to 1e-5 for |x| < 2.31, in a third of the time: it is a part of each step.

    It is the eighth power of a polynomial in x / 8.
    """
    x = x / 8
    # In pairs: fewer operations wait for one another than in Horner's scheme.
    square = x * x
    root = (1 + x) + square * ((1 / 2 + x / 6) + square * (1 / 24 + x / 120))
    for _ in range(3):
        root = root * root
    return root


def rough_logarithm(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """ln x to 0.03 of numbers from 0 on: -inf of 0; inf and NaN of themselves.

    It is linear between powers of two, as are a float's bits, read as a whole number. The sizes of
    steps are roots of a high order of what they are found from, and need no more.
    """
    info = jnp.finfo(x.dtype)
    bits = lax.bitcast_convert_type(x, f"int{info.bits}").astype(x.dtype)
    # 1.043 in place of 1: by half of what the chords are below the curve at most.
    found = bits * (math.log(2) * 2.0**-info.nmant) - (info.maxexp - 1.043) * math.log(2)
    return _with_ends(found, x)


def _with_ends(logarithm: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """A logarithm of positive numbers, with that of 0, inf and NaN."""
    positive = (x > 0) & (x < jnp.inf)
    return jnp.where(positive, logarithm, jnp.where(x == 0, -jnp.inf, x))
