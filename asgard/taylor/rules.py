"""The series rules of JAX's primitives: one table, one entry a primitive.

A rule is online: coefficient n of the outputs from coefficients 0 to n of the inputs and 0 to n - 1
of the outputs, which is what lets a loop run at O(N^2). Where a recurrence could lose digits, it is
written in the form that keeps them. Sources: Griewank and Walther, *Evaluating Derivatives* (2nd
ed., 2008), chapter 13, tables 13.1 and 13.2; Jorba and Zou, *Experimental Mathematics* 14 (2005).

To add a primitive's series, add one entry to one of the tables below:

- `LINEAR`: linear in the operands that the slice selects; the others steer and carry no series.
- `BILINEAR`: a product of its two operands.
- `FROZEN`: piecewise constant, so its value at order 0 holds for the whole series.
- `REWRITES`: the same function, said in other primitives.
- `DERIVATIVES`: f'(u) said in other primitives; f(u) is then the integral of f'(u) u'.
- `RECURRENCES`: a recurrence of its own.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .series import MULTIPLY, Order, Product, Series, convolve, divide

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
    "select_n": slice(1, None),
    "convert_element_type": _ALL,
    "reduce_precision": _ALL,
    "copy": _ALL,
    "copy_p": _ALL,
    "fft": _ALL,
    "optimization_barrier": _ALL,
    "stop_gradient": _ALL,
    "real": _ALL,
    "imag": _ALL,
    "conj": _ALL,
    "complex": _ALL,
    "div": _FIRST,
}

# Primitives that take a number beside an array: its series is that of an array of equal numbers.
BROADCASTING = frozenset({"add", "sub", "mul", "div", "pow"})

# What has no series where it is complex.
REAL_ONLY = frozenset({"abs", "sign", "max", "min", "clamp", "floor", "ceil", "round"})

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
    if y == 1:
        return u * 1
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


def _maximum(a: Any, b: Any) -> Any:
    return jnp.where((a >= b) | (a != a), a, b)


def _minimum(a: Any, b: Any) -> Any:
    return jnp.where((a <= b) | (a != a), a, b)


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


REWRITES: dict[str, Callable[..., Any]] = {
    "square": lambda u: u * u,
    "one_minus_square": lambda u: (1 - u) * (1 + u),
    "integer_pow": _integer_pow,
    "abs": lambda u: jnp.where(u < 0, -u, u),
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
    "erfc": lambda u: -2 / math.sqrt(math.pi) * jnp.exp(-u * u),
}


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """A rule with a recurrence of its own.

    `start(*operands)` gives order 0 of the output, and of the auxiliary series that the recurrence
    carries along. `step(n, operands, series)` gives the same series with coefficient n known; an
    operand is a `Series`, or an array where it is a constant. `first_only` says that only the
    first operand may be a series.
    """

    start: Callable[..., tuple[Any, ...]]
    step: Callable[[Order, list[Any], list[Series]], list[Series]]
    first_only: bool = False


def _exp(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
    (u,), (e,) = operands, series
    return [e.append(n, divide(convolve(u, e, n, derivative=True), n))]


def _log(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
    (u,), (log,) = operands, series
    known = divide(convolve(log, u, n, derivative=True), n)
    return [log.append(n, (u.current - known) / u.zero)]


def _sqrt(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
    (u,), (root,) = operands, series
    return [root.append(n, (u.current - convolve(root, root, n)) / (2 * root.zero))]


def _power(n: Order, u: Series, power: Series, exponent: Any) -> list[Series]:
    rising = exponent * convolve(u, power, n, derivative=True)
    falling = convolve(power, u, n, derivative=True)
    return [power.append(n, divide(rising - falling, n) / u.zero)]


def _fixed_power(exponent: float) -> Callable[[Order, list[Any], list[Series]], list[Series]]:
    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
        return _power(n, operands[0], series[0], exponent)

    return step


def _any_power(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
    return _power(n, operands[0], series[0], operands[1])


def _divide(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
    (a, b), (quotient,) = operands, series
    known = convolve(b, quotient, n)
    rest = a.current - known if isinstance(a, Series) else -known
    return [quotient.append(n, rest / b.zero)]


def _pair(first: int, second: int) -> Callable[[Order, list[Any], list[Series]], list[Series]]:
    """f' = first g u' and g' = second f u', with signs."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
        (u,), (f, g) = operands, series
        f_n = divide(convolve(u, g, n, derivative=True), n)
        g_n = divide(convolve(u, f, n, derivative=True), n)
        return [f.append(n, f_n if first > 0 else -f_n), g.append(n, g_n if second > 0 else -g_n)]

    return step


def _quadratic(
    slope: Callable[[Any], Any], square: int
) -> Callable[[Order, list[Any], list[Series]], list[Series]]:
    """w' = s u' where s is a quadratic in w: `slope(w0)` is its derivative, `square` its lead."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Series]:
        (u,), (w, s) = operands, series
        w_n = divide(convolve(u, s, n, derivative=True), n)
        # The products of w without those that hold w_n, which the slope at order 0 accounts for.
        inner = convolve(w, w, n)
        s_n = slope(w.zero) * w_n + (inner if square > 0 else -inner)
        return [w.append(n, w_n), s.append(n, s_n)]

    return step


def _sech_squared(u: Any) -> Any:
    """1 - tanh(u)^2 without its cancellation."""
    decay = jnp.exp(-2 * jnp.abs(u))
    return 4 * decay / ((1 + decay) * (1 + decay))


RECURRENCES: dict[str, Recurrence] = {
    "exp": Recurrence(lambda u: (jnp.exp(u),), _exp),
    "log": Recurrence(lambda u: (jnp.log(u),), _log),
    "sqrt": Recurrence(lambda u: (jnp.sqrt(u),), _sqrt),
    "rsqrt": Recurrence(lambda u: (lax.rsqrt(u),), _fixed_power(-0.5)),
    "cbrt": Recurrence(lambda u: (lax.cbrt(u),), _fixed_power(1 / 3)),
    "pow": Recurrence(lambda u, p: (lax.pow(u, p),), _any_power, first_only=True),
    "div": Recurrence(lambda a, b: (a / b,), _divide),
    "sin": Recurrence(lambda u: (jnp.sin(u), jnp.cos(u)), _pair(1, -1)),
    "cos": Recurrence(lambda u: (jnp.cos(u), jnp.sin(u)), _pair(-1, 1)),
    "sinh": Recurrence(lambda u: (jnp.sinh(u), jnp.cosh(u)), _pair(1, 1)),
    "cosh": Recurrence(lambda u: (jnp.cosh(u), jnp.sinh(u)), _pair(1, 1)),
    "tan": Recurrence(
        lambda u: (jnp.tan(u), 1 + jnp.tan(u) * jnp.tan(u)), _quadratic(lambda w: 2 * w, 1)
    ),
    "tanh": Recurrence(lambda u: (jnp.tanh(u), _sech_squared(u)), _quadratic(lambda w: -2 * w, -1)),
    "logistic": Recurrence(
        lambda u: (jax.nn.sigmoid(u), jax.nn.sigmoid(u) * jax.nn.sigmoid(-u)),
        _quadratic(lambda w: 1 - 2 * w, -1),
    ),
}
