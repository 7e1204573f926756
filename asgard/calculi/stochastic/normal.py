"""Standard normal numbers, two from each block of random bits.

A radius sqrt(-2 ln u) and an angle give two independent numbers (G. E. P. Box and M. E. Muller,
*A note on the generation of random normal deviates*, Ann. Math. Stat. 29, 1958). One word of a
block gives the radius and one the angle, in float32 and in float64 alike. So both dtypes have the
same numbers up to rounding: 2^64 pairs, none larger than 6.8.

The logarithm, the sine and the cosine are written out here. The exponent and the quarter of the
turn are read off the bits, so all three are polynomials without a branch, which compilers turn into
vector instructions (measured in float64: a quarter of the time of the inverse error function).
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ...jaxprs.floats import exponent_and_mantissa, polynomial

# ln(1 + x) / x for 1 + x from sqrt(1/2) to sqrt(2), as Chebyshev's interpolation has it in 40
# digits (`mpmath.chebyfit`), to 5e-9 and 1e-17. The power series of the inverse hyperbolic tangent
# is shorter, but needs a division, which XLA does not fuse with the rest.
_LOGARITHM = {
    np.dtype(np.float32): [
        0.999999999383255,
        -0.49999988496142866,
        0.33333345349807464,
        -0.2500157909915946,
        0.20000939440373094,
        -0.16608369414088409,
        0.14199650097916022,
        -0.1326603136091708,
        0.12806610435006952,
        -0.07451186226757509,
    ],
    np.dtype(np.float64): [
        1.0,
        -0.5000000000000004,
        0.33333333333332743,
        -0.24999999999974418,
        0.20000000000149037,
        -0.1666666667138451,
        0.14285714273397784,
        -0.12499999601468635,
        0.11111111418906434,
        -0.10000018224285462,
        0.09090917973087682,
        -0.08332850783237133,
        0.0769159854322757,
        -0.07150262128235735,
        0.06684296177196371,
        -0.061900598300090454,
        0.056666906356964954,
        -0.05707612212605521,
        0.0652589937253437,
        -0.059241499774533246,
        0.025489911800405576,
    ],
}
# How many terms of their series the sine and the cosine take up to pi / 4.
_TURN = {np.dtype(np.float32): 5, np.dtype(np.float64): 9}


def normal_pair(words: tuple[Array, Array], dtype: Any) -> tuple[Array, Array]:
    """Two independent standard normal numbers of a block, elementwise."""
    radius = lax.sqrt(-2 * _logarithm(words[0], dtype))
    cosine, sine = _turn(words[1], dtype)
    return radius * cosine, radius * sine


def _logarithm(word: Array, dtype: Any) -> Array:
    """ln u, for u = (word + 1/2) / 2^32."""
    uniform, rest = (_fraction(part, dtype) for part in (word, ~word))
    # u = (1 + x) 2^e with 1 + x from sqrt(1/2) to sqrt(2).
    exponent, mantissa = exponent_and_mantissa(uniform)
    # Near 1, where u has lost digits, 1 - u has them.
    x = jnp.where(exponent == 0, -rest, mantissa - 1)
    terms = _LOGARITHM[jnp.finfo(dtype).dtype]
    even, odd = (polynomial(terms[k::2], x * x) for k in (0, 1))
    return exponent.astype(dtype) * math.log(2) + x * (even + x * odd)


def _turn(word: Array, dtype: Any) -> tuple[Array, Array]:
    """The cosine and the sine of the part word / 2^32 of a turn."""
    quarter = (word + np.uint32(1 << 29)) >> np.uint32(30)
    left = lax.bitcast_convert_type(word - (quarter << np.uint32(30)), jnp.int32)
    x = left.astype(dtype) * (2 * math.pi / 2**32)
    count = _TURN[jnp.finfo(dtype).dtype]
    terms = [(-1) ** (k // 2) / math.factorial(k) for k in range(2 * count)]
    cosine = polynomial(terms[::2], x * x)
    sine = x * polynomial(terms[1::2], x * x)
    odd = (quarter & np.uint32(1)) == 1
    cosine, sine = jnp.where(odd, sine, cosine), jnp.where(odd, cosine, sine)
    backward = ((quarter + np.uint32(1)) & np.uint32(2)) == 2
    below = (quarter & np.uint32(2)) == 2
    return jnp.where(backward, -cosine, cosine), jnp.where(below, -sine, sine)


def _fraction(word: Array, dtype: Any) -> Array:
    return (word.astype(dtype) + 0.5) * 2.0**-32
