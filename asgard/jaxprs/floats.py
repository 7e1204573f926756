"""The parts of a floating-point number, read off its bits, and polynomials: functions that are made
of them have no branch and no call of a library, and compilers turn them into vector instructions.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int


def exponent_and_mantissa(
    x: Float[Array, "..."],
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """e and m of x = m 2^e, with m from sqrt(1/2) to sqrt(2).

    Only for positive normal numbers. Of smaller ones, of negative ones, of inf and NaN the two are
    some other numbers.
    """
    unsigned, digits, one = _format(x.dtype)
    least = np.asarray(math.sqrt(0.5), x.dtype).view(unsigned)
    bits = lax.bitcast_convert_type(x, unsigned)
    exponent = (bits + (one - least)) >> digits
    mantissa = lax.bitcast_convert_type(bits - ((exponent << digits) - one), x.dtype)
    return exponent.astype(jnp.int32) - int(one >> digits), mantissa


def power_of_two(exponent: Float[Array, "..."]) -> Float[Array, "..."]:
    """2^e of whole numbers e for which it is a normal number."""
    unsigned, digits, one = _format(exponent.dtype)
    bits = exponent.astype(jnp.int32).astype(unsigned) + (one >> digits)
    return lax.bitcast_convert_type(bits << digits, exponent.dtype)


def polynomial(coefficients: Sequence[float], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The sum of coefficients[k] x^k, of each number."""
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _format(dtype: Any) -> tuple[Any, Any, Any]:
    """Of a real dtype: the whole numbers of its size, how many bits the mantissa has, and the bits
    of 1."""
    info = jnp.finfo(dtype)
    unsigned = np.dtype(f"uint{info.bits}").type
    return unsigned, unsigned(info.nmant), np.asarray(1, dtype).view(unsigned)
