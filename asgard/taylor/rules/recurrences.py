"""The recurrences of elementary functions.

Sources: Griewank and Walther, *Evaluating Derivatives* (2nd ed., 2008), chapter 13, tables 13.1 and
13.2; Jorba and Zou, *Experimental Mathematics* 14 (2005). Where a recurrence could lose digits, it
is written in the form that keeps them.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..series import Order, Series, convolve, divide, of_order, real_order
from .rule import Application, Rule

Step = Callable[[Order, list[Any], list[Series]], list[Array]]


def _exp(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    (u,), (e,) = operands, series
    return [divide(convolve(u, e, n, weight=of_order), n)]


def _log(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    (u,), (log,) = operands, series
    known = divide(convolve(log, u, n, weight=of_order), n)
    return [(u.current - known) / u.zero]


def _sqrt(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    (u,), (root,) = operands, series
    return [(u.current - convolve(root, root, n)) / (2 * root.zero)]


def power(n: Order, u: Series, power: Series, exponent: Any) -> Array:
    """Coefficient n of u^p, from u p' = p u' p as one sum: its terms cancel before they add up."""
    order = n if isinstance(n, int) else real_order(n, u.zero)
    total = convolve(u, power, n, weight=lambda k: (exponent + 1) * k - order)
    return divide(total, n) / u.zero


def _fixed_power(exponent: float) -> Step:
    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        return [power(n, operands[0], series[0], exponent)]

    return step


def power_step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """u^p for a constant p."""
    return [power(n, operands[0], series[0], operands[1])]


def _divide(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    (a, b), (quotient,) = operands, series
    known = convolve(b, quotient, n)
    rest = a.current - known if isinstance(a, Series) else -known
    return [rest / b.zero]


def _pair(first: int, second: int) -> Step:
    """f' = first g u' and g' = second f u', with signs."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (u,), (f, g) = operands, series
        f_n = divide(convolve(u, g, n, weight=of_order), n)
        g_n = divide(convolve(u, f, n, weight=of_order), n)
        return [f_n if first > 0 else -f_n, g_n if second > 0 else -g_n]

    return step


def _quadratic(slope: Callable[[Any], Any], square: int) -> Step:
    """w' = s u' where s is a quadratic in w: `slope(w0)` is its derivative, `square` its lead."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (u,), (w, s) = operands, series
        w_n = divide(convolve(u, s, n, weight=of_order), n)
        # The products of w without those that hold w_n, which the slope at order 0 accounts for.
        inner = convolve(w, w, n)
        return [w_n, slope(w.zero) * w_n + (inner if square > 0 else -inner)]

    return step


def _sech_squared(u: Any) -> Any:
    """1 - tanh(u)^2 without its cancellation."""
    decay = jnp.exp(jnp.where(u.real < 0, 2 * u, -2 * u))
    return 4 * decay / ((1 + decay) * (1 + decay))


def _inverse_erf_start(u: Any) -> tuple[Any, Any, Any]:
    w = lax.erf_inv(u)
    return w, w * w, math.sqrt(math.pi) / 2 * jnp.exp(w * w)


def _inverse_erf(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """w' = s u' where s = sqrt(pi)/2 exp(w^2), so that s' = s (w^2)'."""
    (u,), (w, square, s) = operands, series
    w_n = divide(convolve(u, s, n, weight=of_order), n)
    square_n = 2 * w.zero * w_n + convolve(w, w, n)
    s_n = divide(convolve(square.append(n, square_n), s, n, weight=of_order), n)
    return [w_n, square_n, s_n]


def dawson(application: Application) -> Rule:
    """D' = (1 - 2 u D) u', with u D carried along; its last operand is u."""

    def start(*operands: Any) -> tuple[Any, Any]:
        (value,) = application.equation.bind(*operands)
        return value, operands[-1] * value

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        u, (value, product) = operands[-1], series
        value_n = u.current - 2 * divide(convolve(u, product, n, weight=of_order), n)
        return [value_n, convolve(u, value.append(n, value_n), n)]

    return Rule(start, step)


RECURRENCES: dict[str, Rule] = {
    "exp": Rule(lambda u: (jnp.exp(u),), _exp),
    "log": Rule(lambda u: (jnp.log(u),), _log),
    "sqrt": Rule(lambda u: (jnp.sqrt(u),), _sqrt),
    "rsqrt": Rule(lambda u: (lax.rsqrt(u),), _fixed_power(-0.5)),
    "cbrt": Rule(lambda u: (lax.cbrt(u),), _fixed_power(1 / 3)),
    "div": Rule(lambda a, b: (a / b,), _divide),
    "sin": Rule(lambda u: (jnp.sin(u), jnp.cos(u)), _pair(1, -1)),
    "cos": Rule(lambda u: (jnp.cos(u), jnp.sin(u)), _pair(-1, 1)),
    "sinh": Rule(lambda u: (jnp.sinh(u), jnp.cosh(u)), _pair(1, 1)),
    "cosh": Rule(lambda u: (jnp.cosh(u), jnp.sinh(u)), _pair(1, 1)),
    "tan": Rule(
        lambda u: (jnp.tan(u), 1 + jnp.tan(u) * jnp.tan(u)), _quadratic(lambda w: 2 * w, 1)
    ),
    "tanh": Rule(lambda u: (jnp.tanh(u), _sech_squared(u)), _quadratic(lambda w: -2 * w, -1)),
    "logistic": Rule(
        lambda u: (jax.nn.sigmoid(u), jax.nn.sigmoid(u) * jax.nn.sigmoid(-u)),
        _quadratic(lambda w: 1 - 2 * w, -1),
    ),
    "erf_inv": Rule(_inverse_erf_start, _inverse_erf),
}

# The function whose series a recurrence carries along as its first auxiliary one.
TWINS = {"sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh"}
