"""The logarithm and the exponential to nine digits, in plain operations.

The sizes of steps need no more. `jnp.log` and `jnp.exp` are a call for each number in a kernel, and
these are vector instructions: of a batch of Lorenz runs by unrolled Taylor steps the calls took an
eighth of the time. The exponent of a number is read off its bits. Neither has derivatives.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def logarithm(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """ln x of numbers from 0 on: -inf of 0; inf and NaN of themselves."""
    _, unsigned, digits, one = _format(x.dtype)
    # x = m 2^e with m from sqrt(1/2) to sqrt(2).
    least = np.asarray(math.sqrt(0.5), x.dtype).view(unsigned)
    bits = lax.bitcast_convert_type(x, unsigned)
    exponent = (bits + (one - least)) >> digits
    m = lax.bitcast_convert_type(bits - ((exponent << digits) - one), x.dtype)
    exponent = exponent.astype(jnp.int32) - int(one >> digits)
    # ln m = 2 artanh s = 2 (s + s^3 / 3 + ...) with |s| < 0.172.
    s = (m - 1) / (m + 1)
    terms = _polynomial([1.0, 1 / 3, 1 / 5, 1 / 7, 1 / 9], s * s)
    found = exponent.astype(x.dtype) * math.log(2) + 2 * s * terms
    return jnp.where((x > 0) & (x < jnp.inf), found, jnp.where(x == 0, -jnp.inf, x))


def exponential(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """e^y: 0 or inf where it is no normal number; NaN of NaN."""
    info, unsigned, digits, one = _format(y.dtype)
    low, high = info.minexp * math.log(2), info.maxexp * math.log(2)
    exponent = jnp.round(jnp.clip(y, low, high) / math.log(2))
    exponent = jnp.minimum(exponent, info.maxexp - 1)
    # |rest| < 0.35, or 0.7 near the largest number.
    rest = y - exponent * math.log(2)
    power = exponent.astype(jnp.int32).astype(unsigned) + (one >> digits)
    scale = lax.bitcast_convert_type(power << digits, y.dtype)
    found = _polynomial([1 / math.factorial(k) for k in range(10)], rest) * scale
    return jnp.where(y < low, 0, jnp.where(y > high, jnp.inf, found))


def short_exponential(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """e^x to 1e-5 for |x| < 2.31, in a third of the time: it is a part of each step.

    It is the eighth power of a polynomial in x / 8.
    """
    root = _polynomial([1 / math.factorial(k) for k in range(6)], x / 8)
    for _ in range(3):
        root = root * root
    return root


def _format(dtype: Any) -> tuple[Any, Any, Any, Any]:
    """Of a real dtype: its limits, the whole numbers of its size, the bits of the mantissa, and
    those of 1."""
    info = jnp.finfo(dtype)
    unsigned = np.dtype(f"uint{info.bits}").type
    return info, unsigned, unsigned(info.nmant), np.asarray(1, dtype).view(unsigned)


def _polynomial(coefficients: list[float], x: Array) -> Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
