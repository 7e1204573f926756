"""The series rules of JAX's primitives: one table, one entry a primitive.

A rule is online: coefficient n of the outputs from coefficients 0 to n of the inputs and 0 to n - 1
of the outputs, which is what lets a loop run at O(N^2).

To add a primitive's series, add one entry to one of the tables below:

- `LINEAR`: linear in the operands that the slice selects; the others steer and carry no series.
- `BILINEAR`: a product of its two operands.
- `FROZEN`: piecewise constant, so its value at order 0 holds for the whole series.
- `REWRITES`: the same function, said in other primitives.
- `DERIVATIVES`: f'(u) said in other primitives; f(u) is then the integral of f'(u) u'.
- `RECURRENCES` (in `recurrences.py`): a recurrence of its own.
- `BUILT`: a rule made for the equation at hand, or a function that says it in other primitives;
  None passes on to `REWRITES`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...jaxprs.convolution import whole
from ..series import MULTIPLY, Product
from . import control, implicit, selection, solves
from . import rule as online
from .recurrences import RECURRENCES, dawson, power_step
from .rule import Application, Rule

_ALL = slice(None)
_FIRST = slice(0, 1)

LINEAR: dict[str, slice] = {
    "add": _ALL,
    "add_any": _ALL,
    "sub": _ALL,
    "neg": _ALL,
    "broadcast_in_dim": _FIRST,
    "reshape": _FIRST,
    "squeeze": _ALL,
    "expand_dims": _ALL,
    "transpose": _ALL,
    "rev": _ALL,
    "reduce_sum": _ALL,
    "cumsum": _ALL,
    "concatenate": _ALL,
    "stack": _ALL,
    "unstack": _ALL,
    "tile": _ALL,
    "slice": _ALL,
    "split": _ALL,
    "pad": _ALL,
    "dynamic_slice": _FIRST,
    "dynamic_update_slice": slice(0, 2),
    "gather": _FIRST,
    "scatter": slice(0, 3, 2),
    "scatter-add": slice(0, 3, 2),
    "scatter-sub": slice(0, 3, 2),
    "scatter-mul": _FIRST,
    "select_n": slice(1, None),
    "convert_element_type": _ALL,
    "reduce_precision": _ALL,
    "copy": _ALL,
    "copy_p": _ALL,
    "fft": _ALL,
    "optimization_barrier": _ALL,
    "device_put": _ALL,
    "sharding_constraint": _ALL,
    "reduce_window_sum": _ALL,
    "stop_gradient": _ALL,
    "real": _ALL,
    "imag": _ALL,
    "conj": _ALL,
    "complex": _ALL,
    "div": _FIRST,
}

# Primitives that take a number beside an array: its series is that of an array of equal numbers.
BROADCASTING = frozenset({"add", "sub", "mul", "div", "pow"})

# What is not defined, or has no series, where it is complex.
REAL_ONLY = frozenset({"max", "min", "clamp", "floor", "ceil", "round", "reduce_max", "reduce_min"})

FROZEN = frozenset({"sign", "floor", "ceil", "round"})


def _dot_general(params: dict[str, Any]) -> Product:
    """A dot product of two coefficients; for stacks of them the order is summed with the rest."""
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]

    def pair(a, b):
        return lax.dot_general(
            a, b, **_dot_options(params, ((left, right), (left_batch, right_batch)))
        )

    def total(a, b):
        def later(axes):
            return tuple(axis + 1 for axis in axes)

        contract = ((0, *later(left)), (0, *later(right)))
        batch = (later(left_batch), later(right_batch))
        return lax.dot_general(a, b, **_dot_options(params, (contract, batch)))

    return Product(pair, total)


def _dot_options(params: dict[str, Any], dimension_numbers: Any) -> dict[str, Any]:
    return {
        "dimension_numbers": dimension_numbers,
        "precision": params["precision"],
        "preferred_element_type": params["preferred_element_type"],
    }


def _convolution(params: dict[str, Any]) -> Product:
    pair = functools.partial(lax.conv_general_dilated_p.bind, **params)
    return Product(pair, lambda a, b: jnp.sum(jax.vmap(pair)(a, b), axis=0))


BILINEAR: dict[str, Callable[[dict[str, Any]], Product]] = {
    "mul": lambda params: MULTIPLY,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
}


def _integer_pow(u: Any, *, y: int) -> Any:
    if y == 0:
        return jnp.ones_like(u)
    if y < 0:
        return _integer_pow(1 / u, y=-y)  # 1 / u^-y would lose digits in the division
    result = None
    while y:
        if y & 1:
            result = u if result is None else result * u
        y >>= 1
        if y:
            u = u * u
    return result


def _power(application: Application) -> Rule | Callable[..., Any] | None:
    """u^p: a product where p is a known natural number, so that it holds at u = 0 too."""
    exponent = application.values[1]
    if exponent is not None and is_concrete(exponent) and np.ndim(exponent) == 0:
        number = complex(exponent)
        if number.imag == 0 and number.real >= 0 and number.real.is_integer():
            return lambda u, _: _integer_pow(u, y=int(number.real))
    return None if application.carried[1] else Rule(application.equation.bind, power_step)


def _maximum(a: Any, b: Any) -> Any:
    return jnp.where((a >= b) | (a != a), a, b)


def _minimum(a: Any, b: Any) -> Any:
    return jnp.where((a <= b) | (a != a), a, b)


def _absolute(u: Any) -> Any:
    if jnp.iscomplexobj(u):
        return jnp.sqrt(u.real * u.real + u.imag * u.imag)
    return jnp.where(u < 0, -u, u)


def _remainder(a: Any, b: Any) -> Any:
    quotient = a / b
    return a - b * (jnp.sign(quotient) * jnp.floor(quotient * jnp.sign(quotient)))


def _atan2(y: Any, x: Any) -> Any:
    steep = jnp.abs(y) > jnp.abs(x)
    ratio = jnp.where(steep, -x, y) / jnp.where(steep, y, x)
    half = jnp.where(y < 0, -math.pi, math.pi)
    return jnp.arctan(ratio) + jnp.where(steep, half / 2, jnp.where(x < 0, half, 0))


def _at(place: Callable[..., Any], u: Any, axes: Sequence[int]) -> Any:
    """The entries at the place that `place` (argmax, argmin) finds over some axes."""
    kept = [axis for axis in range(u.ndim) if axis not in axes]
    u = jnp.transpose(u, (*kept, *axes))
    u = u.reshape((*u.shape[: len(kept)], -1))
    return jnp.take_along_axis(u, place(u, axis=-1, keepdims=True), axis=-1)[..., 0]


def _sinc(u: Any) -> Any:
    """sin(pi u) / (pi u); near 0 its Taylor polynomial, since a quotient loses digits there."""
    u = math.pi * u
    near = jnp.abs(u) < 1
    square = jnp.where(near, u * u, 0)
    # To order 30: the next term is below 1e-35.
    total: Any = jnp.zeros_like(u)
    for k in range(15, -1, -1):
        total = total * square + (-1) ** k / math.factorial(2 * k + 1)
    away = jnp.where(near, 1, u)
    return jnp.where(near, total, jnp.sin(away) / away)


def _digamma(u: Any) -> Any:
    """The asymptotic series past 14, to which a recurrence shifts; reflected below 1/2."""
    mirrored = u < 0.5
    z = jnp.where(mirrored, 1 - u, u)
    shift = 14
    near = z < shift
    steps = jnp.sum(1 / (z[..., None] + jnp.arange(shift, dtype=u.dtype)), axis=-1)
    large = jnp.where(near, z + shift, z)
    inverse = 1 / (large * large)
    total: Any = jnp.zeros_like(u)
    for bernoulli in reversed(_BERNOULLI):
        total = (total + bernoulli) * inverse
    value = jnp.log(large) - 0.5 / large - total - jnp.where(near, steps, 0)
    around = jnp.where(mirrored, u, 0.25)  # where the tangent is of no use, it must do no harm
    return jnp.where(mirrored, value - math.pi / jnp.tan(math.pi * around), value)


# B_2k / 2k, the coefficients of the digamma function's asymptotic series.
_BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)


def _vanishing(x: Any, y: Any) -> Any:
    """x log(y), which is 0 where both vanish."""
    both = (x == 0) & (y == 0)
    return jnp.where(both, 0, x * jnp.log(jnp.where(both, 1, y)))


def _pooled(u: Any, sign: int, options: dict[str, Any]) -> Any:
    """The entries that have the highest rank at order 0, by `sign`, in each window."""
    flat = u.reshape(-1)
    by_rank = jnp.argsort(sign * flat)
    ranks = jnp.argsort(by_rank).reshape(u.shape)
    lowest = jnp.asarray(-1, ranks.dtype)
    return flat[by_rank[lax.reduce_window(ranks, lowest, lax.max, **options)]]


def _product_over(u: Any, *, axes: Sequence[int], **_: Any) -> Any:
    """A product by halves, so that each entry goes through few products of series."""
    kept = [axis for axis in range(u.ndim) if axis not in axes]
    u = jnp.transpose(u, (*axes, *kept))
    u = u.reshape((-1, *u.shape[len(axes) :]))
    while len(u) > 1:
        half = len(u) // 2
        u = jnp.concatenate([u[:half] * u[half : 2 * half], u[2 * half :]])
    return u[0] if len(u) else jnp.ones(u.shape[1:], u.dtype)


def _polynomial(x: Any, *coefficients: Any, **_: Any) -> Any:
    """Horner's rule; the coefficients begin with the constant term."""
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def _cumulative(operation: Callable[[Any, Any], Any], u: Any, *, axis: int, reverse: bool) -> Any:
    return lax.associative_scan(operation, u, reverse=reverse, axis=axis)


REWRITES: dict[str, Callable[..., Any]] = {
    "square": lambda u: u * u,
    "one_minus_square": lambda u: (1 - u) * (1 + u),
    "integer_pow": _integer_pow,
    "abs": _absolute,
    "sign": lambda u: u / _absolute(u),  # of a complex number: a real one's is frozen
    "max": _maximum,
    "min": _minimum,
    "clamp": lambda low, u, high: _minimum(_maximum(u, low), high),
    "rem": _remainder,
    "atan2": _atan2,
    "reduce_max": lambda u, *, axes, **_: _at(jnp.argmax, u, axes),
    "reduce_min": lambda u, *, axes, **_: _at(jnp.argmin, u, axes),
    "exp2": lambda u, **_: jnp.exp(u * math.log(2)),
    "log2": lambda u, **_: jnp.log(u) / math.log(2),
    "pow": lambda u, p: jnp.exp(p * jnp.log(u)),
    "polynomial": _polynomial,  # jax >= 0.12
    "reduce_prod": _product_over,
    "reduce_window_max": lambda u, **options: _pooled(u, 1, options),
    "reduce_window_min": lambda u, **options: _pooled(u, -1, options),
    "cumprod": lambda u, **options: _cumulative(lax.mul, u, **options),
    "cummax": lambda u, **options: _cumulative(_maximum, u, **options),
    "cummin": lambda u, **options: _cumulative(_minimum, u, **options),
    "cumlogsumexp": lambda u, **options: _cumulative(jnp.logaddexp, u, **options),
    "triangular_solve": solves.as_linear_solve,
    "sinc": _sinc,
    "digamma": _digamma,
    "xlogy": _vanishing,
    "xlog1py": lambda x, y: x * jnp.log1p(y),
    "asgard_convolution": whole,  # of series along another dimension
}

DERIVATIVES: dict[str, Callable[[Any], Any]] = {
    "expm1": jnp.exp,
    "log1p": lambda u: 1 / (1 + u),
    "asin": lambda u: lax.rsqrt((1 - u) * (1 + u)),
    "acos": lambda u: -lax.rsqrt((1 - u) * (1 + u)),
    "atan": lambda u: 1 / (1 + u * u),
    "asinh": lambda u: lax.rsqrt(1 + u * u),
    "acosh": lambda u: lax.rsqrt((u - 1) * (u + 1)),
    "atanh": lambda u: 1 / ((1 - u) * (1 + u)),
    "erf": lambda u: 2 / math.sqrt(math.pi) * jnp.exp(-u * u),
    "lgamma": lax.digamma,
    "erfc": lambda u: -2 / math.sqrt(math.pi) * jnp.exp(-u * u),
}


BUILT: dict[str, Callable[[Application], Rule | Callable[..., Any] | None]] = {
    "pow": _power,
    "sort": selection.sort,
    "top_k": selection.top_k,
    "nextafter": selection.next_after,
    "custom_linear_solve": solves.linear_solve,
    "triangular_solve": solves.triangular_solve,
    "cholesky": solves.cholesky,
    "lu": solves.lu,
    "_dawsn": dawson,
    "scatter-mul": lambda application: selection.scattered(application, lax.mul),
    "scatter-max": lambda application: selection.scattered(application, _maximum),
    "scatter-min": lambda application: selection.scattered(application, _minimum),
    "cond": control.cond,
    "scan": control.scan,
    "while": control.while_loop,
    "asgard_fixed_point": implicit.fixed_point,
}


def is_constant(application: Application, outputs: Sequence[jax.ShapeDtypeStruct]) -> bool:
    """Whether the outputs are those of order 0 for the whole series."""
    equation = application.equation
    inexact = any(jnp.issubdtype(aval.dtype, jnp.inexact) for aval in outputs)
    frozen = equation.name in FROZEN and not _is_complex(application)
    return not any(application.carried) or not inexact or frozen


def find(application: Application) -> Rule | Callable[..., Any]:
    """The rule of an equation, or the function that says it in other primitives."""
    equation, carried = application.equation, application.carried
    name = equation.name
    if name in REAL_ONLY and _is_complex(application):
        raise CircuitError(f"{name!r} of a complex function has no power series")
    if name in LINEAR:
        places = range(len(carried))[LINEAR[name]]
        if all(place in places for place, flag in enumerate(carried) if flag):
            return online.linear(application, places)
    if name in BILINEAR:
        if sum(carried) == 1:
            return online.linear(application, [carried.index(True)])
        return online.bilinear(equation, BILINEAR[name](equation.params))
    rule = BUILT[name](application) if name in BUILT else RECURRENCES.get(name)
    if rule is not None:
        return rule
    if name in REWRITES:
        params = {} if equation.function else equation.params
        return functools.partial(REWRITES[name], **params)
    if name == "asgard_lane_call":
        raise CircuitError(
            "simulate is called inside of an atom, on values of the atom's inputs, and a run has "
            "no Taylor series: compose the two circuits, or simulate first and hand its result in"
        )
    raise CircuitError(
        f"the JAX primitive {name!r} has no series rule{_where(carried)}, so a function that uses "
        "it has no Taylor series; say it with other jnp functions, or add a rule for it to the "
        "tables in asgard/taylor/rules/table.py"
    )


def _is_complex(application: Application) -> bool:
    return any(jnp.issubdtype(aval.dtype, jnp.complexfloating) for aval in application.avals)


def _where(carried: Sequence[bool]) -> str:
    """Which operands are series, where not all are."""
    if all(carried):
        return ""
    places = [str(place + 1) for place, flag in enumerate(carried) if flag]
    return f" where operand {', '.join(places)} of {len(carried)} is a series"
