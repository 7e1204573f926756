"""The series rules of JAX's primitives: one table, one entry a primitive.

A new primitive is one entry: choose the first kind of `registry` that fits. Programs outside of
this package add theirs with `asgard.taylor.rules.add_rule`.
"""

import functools
import math

import jax.numpy as jnp
from jax import lax

from ...jaxprs.convolution import whole
from ..registry import (
    Bilinear,
    Built,
    Derivative,
    Frozen,
    Kind,
    Linear,
    Recurrence,
    Refused,
    Rewrite,
    add_rule,
)
from ..series import MULTIPLY
from . import control, implicit, products, recurrences, rewrites, selection, solves, special

_LINEAR = """
    add add_any sub neg broadcast_in_dim reshape squeeze expand_dims transpose rev reduce_sum cumsum
    concatenate stack unstack tile slice split pad dynamic_slice dynamic_update_slice gather scatter
    scatter-add scatter-sub select_n convert_element_type reduce_precision copy copy_p fft
    optimization_barrier device_put sharding_constraint reduce_window_sum stop_gradient real imag
    conj complex asgard_stored
"""

TABLE: dict[str, Kind] = {
    **dict.fromkeys(_LINEAR.split(), Linear()),
    "mul": Bilinear(lambda params: MULTIPLY),
    "dot_general": Bilinear(products.dot_general),
    "conv_general_dilated": Bilinear(products.convolution),
    "floor": Frozen(),
    "ceil": Frozen(),
    "round": Frozen(),
    "sign": Frozen(complex=Rewrite(lambda u: u / rewrites.absolute(u))),
    # The same function in others.
    "square": Rewrite(lambda u: u * u),
    "one_minus_square": Rewrite(lambda u: (1 - u) * (1 + u)),
    "integer_pow": Rewrite(rewrites.integer_power),
    "polynomial": Rewrite(rewrites.polynomial),  # jax >= 0.12
    "abs": Rewrite(rewrites.absolute),
    "max": Rewrite(rewrites.maximum, real_only=True),
    "min": Rewrite(rewrites.minimum, real_only=True),
    "clamp": Rewrite(
        lambda low, u, high: rewrites.minimum(rewrites.maximum(u, low), high), real_only=True
    ),
    "rem": Rewrite(rewrites.remainder),
    "atan2": Rewrite(rewrites.atan2),
    "exp2": Rewrite(lambda u, **_: jnp.exp(u * math.log(2))),
    "log2": Rewrite(lambda u, **_: jnp.log(u) / math.log(2)),
    "xlogy": Rewrite(rewrites.x_log_y),
    "xlog1py": Rewrite(lambda x, y: x * jnp.log1p(y)),
    "reduce_prod": Rewrite(rewrites.product_over),
    "reduce_window_max": Rewrite(lambda u, **options: rewrites.pooled(u, 1, options)),
    "reduce_window_min": Rewrite(lambda u, **options: rewrites.pooled(u, -1, options)),
    "cumprod": Rewrite(functools.partial(rewrites.cumulative, lax.mul)),
    "cummax": Rewrite(functools.partial(rewrites.cumulative, rewrites.maximum)),
    "cummin": Rewrite(functools.partial(rewrites.cumulative, rewrites.minimum)),
    "cumlogsumexp": Rewrite(functools.partial(rewrites.cumulative, jnp.logaddexp)),
    "digamma": Rewrite(special.digamma),
    "_i0": Rewrite(special.bessel_i(0)),
    "i0_impl": Rewrite(special.bessel_i(0)),  # jax >= 0.12
    "_i1": Rewrite(special.bessel_i(1)),  # jax >= 0.12
    "bessel_i0e": Rewrite(special.bessel_i0e),
    "bessel_i1e": Rewrite(special.bessel_i1e),
    "asgard_convolution": Rewrite(whole),  # of series along another dimension
    # Integrals of the derivative.
    "expm1": Derivative(lambda u, _: jnp.exp(u)),
    "log1p": Derivative(lambda u, _: 1 / (1 + u)),
    "tan": Derivative(lambda u, tan: 1 + tan * tan),
    "asin": Derivative(lambda u, _: lax.rsqrt((1 - u) * (1 + u))),
    "acos": Derivative(lambda u, _: -lax.rsqrt((1 - u) * (1 + u))),
    "atan": Derivative(lambda u, _: 1 / (1 + u * u)),
    "asinh": Derivative(lambda u, _: lax.rsqrt(1 + u * u)),
    "acosh": Derivative(lambda u, _: lax.rsqrt((u - 1) * (u + 1))),
    "atanh": Derivative(lambda u, _: 1 / ((1 - u) * (1 + u))),
    "erf": Derivative(lambda u, _: 2 / math.sqrt(math.pi) * jnp.exp(-u * u)),
    "erfc": Derivative(lambda u, _: -2 / math.sqrt(math.pi) * jnp.exp(-u * u)),
    "erf_inv": Derivative(lambda u, w: math.sqrt(math.pi) / 2 * jnp.exp(w * w)),
    "lgamma": Derivative(lambda u, _: lax.digamma(u)),
    "_dawsn": Derivative(lambda u, dawson: 1 - 2 * u * dawson),
    "_erfcx": Derivative(lambda u, erfcx: 2 * u * erfcx - 2 / math.sqrt(math.pi)),
    "log_ndtr": Derivative(lambda u, f: jnp.exp(-u * u / 2 - f) / math.sqrt(2 * math.pi)),
    "expi": Derivative(lambda u, _: jnp.exp(u) / u),
    "sici": Derivative(lambda u, *_: (jnp.sinc(u / math.pi), jnp.cos(u) / u)),
    # Recurrences.
    "div": Linear((0,), otherwise=Recurrence(lambda a, b: (a / b,), recurrences.quotient)),
    "exp": Recurrence(lambda u: (jnp.exp(u),), recurrences.exp),
    "log": Recurrence(lambda u: (jnp.log(u),), recurrences.log),
    "sqrt": Recurrence(lambda u: (jnp.sqrt(u),), recurrences.sqrt),
    "rsqrt": Recurrence(lambda u: (lax.rsqrt(u),), recurrences.fixed_power(-0.5)),
    "cbrt": Recurrence(lambda u: (lax.cbrt(u),), recurrences.fixed_power(1 / 3)),
    "sin": Recurrence(lambda u: (jnp.sin(u), jnp.cos(u)), recurrences.pair(1, -1), twin="cos"),
    "cos": Recurrence(lambda u: (jnp.cos(u), jnp.sin(u)), recurrences.pair(-1, 1), twin="sin"),
    "sinh": Recurrence(lambda u: (jnp.sinh(u), jnp.cosh(u)), recurrences.pair(1, 1), twin="cosh"),
    "cosh": Recurrence(lambda u: (jnp.cosh(u), jnp.sinh(u)), recurrences.pair(1, 1), twin="sinh"),
    "tanh": Recurrence(recurrences.tanh_start, recurrences.squashed(lambda w: -2 * w)),
    "logistic": Recurrence(recurrences.logistic_start, recurrences.squashed(lambda w: 1 - 2 * w)),
    # Made for the equation at hand.
    "pow": Built(rewrites.power),
    "sinc": Built(special.sinc),
    "bessel_jn": Built(special.bessel_jn),
    "sort": Built(selection.sort),
    "reduce_max": Built(selection.extreme(jnp.argmax), real_only=True),
    "reduce_min": Built(selection.extreme(jnp.argmin), real_only=True),
    "top_k": Built(selection.top_k),
    "nextafter": Built(selection.next_after),
    "scatter-mul": Linear((0,), otherwise=Built(selection.scattered(lax.mul))),
    "scatter-max": Built(selection.scattered(rewrites.maximum)),
    "scatter-min": Built(selection.scattered(rewrites.minimum)),
    "custom_linear_solve": Built(solves.linear_solve),
    "triangular_solve": Linear((1,), otherwise=Rewrite(solves.as_linear_solve)),
    "cholesky": Built(solves.cholesky),
    "lu": Built(solves.lu),
    "cond": Built(control.cond),
    "scan": Built(control.scan),
    "while": Built(control.while_loop),
    "custom_jvp_call": Built(control.call),
    "call_hi_primitive": Built(control.high_call),  # jax >= 0.12
    "asgard_fixed_point": Built(implicit.fixed_point),
    "asgard_lane_call": Refused(
        "simulate is called inside of an atom, on values of the atom's inputs, and a run has "
        "no Taylor series: compose the two circuits, or simulate first and hand its result in"
    ),
}

for _name, _kind in TABLE.items():
    add_rule(_name, _kind)
