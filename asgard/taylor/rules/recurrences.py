"""The steps of the recurrences of elementary functions.

Sources: Griewank and Walther, *Evaluating Derivatives* (2nd ed., 2008), chapter 13, tables 13.1 and
13.2; Jorba and Zou, *Experimental Mathematics* 14 (2005). Where a recurrence could lose digits, it
is written in the form that keeps them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..rule import Step
from ..series import Order, Series, convolve, divide, of_order, real_order


def exp(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """e' = e u'."""
    (u,), (e,) = operands, series
    return [divide(convolve(u, e, n, weight=of_order), n)]


def log(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """u l' = u'."""
    (u,), (log,) = operands, series
    known = divide(convolve(log, u, n, weight=of_order), n)
    return [(u.current - known) / u.zero]


def sqrt(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """r r = u."""
    (u,), (root,) = operands, series
    return [(u.current - convolve(root, root, n)) / (2 * root.zero)]


def _power(n: Order, u: Series, power: Series, exponent: Any) -> Array:
    """Coefficient n of u^p, from u p' = p u' p as one sum: its terms cancel before they add up."""
    order = n if isinstance(n, int) else real_order(n, u.zero)
    total = convolve(u, power, n, weight=lambda k: (exponent + 1) * k - order)
    return divide(total, n) / u.zero


def fixed_power(exponent: float) -> Step:
    """u^p for a number p that is known beforehand."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        return [_power(n, operands[0], series[0], exponent)]

    return step


def power_step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """u^p for a constant p."""
    return [_power(n, operands[0], series[0], operands[1])]


def quotient(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
    """b q = a."""
    (a, b), (q,) = operands, series
    known = convolve(b, q, n)
    rest = a.current - known if isinstance(a, Series) else -known
    return [rest / b.zero]


def pair(first: int, second: int) -> Step:
    """f' = first g u' and g' = second f u', with signs."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (u,), (f, g) = operands, series
        f_n = divide(convolve(u, g, n, weight=of_order), n)
        g_n = divide(convolve(u, f, n, weight=of_order), n)
        return [f_n if first > 0 else -f_n, g_n if second > 0 else -g_n]

    return step


def squashed(slope: Callable[[Any], Any]) -> Step:
    """w' = s u' with s a quadratic in w, -w^2 + ...: `slope(w0)` is ds/dw at order 0.

    The series of s starts from its own value at order 0, where the quadratic would cancel.
    """

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (u,), (w, s) = operands, series
        w_n = divide(convolve(u, s, n, weight=of_order), n)
        # The products of w but for those that hold w_n, which the slope accounts for.
        return [w_n, slope(w.zero) * w_n - convolve(w, w, n)]

    return step


def tanh_start(u: Any) -> tuple[Any, Any]:
    """tanh(u), and 1 - tanh(u)^2 without its cancellation."""
    decay = jnp.exp(jnp.where(u.real < 0, 2 * u, -2 * u))
    return jnp.tanh(u), 4 * decay / ((1 + decay) * (1 + decay))


def logistic_start(u: Any) -> tuple[Any, Any]:
    """The logistic function s(u), and s(u) (1 - s(u)) without its cancellation."""
    return jax.nn.sigmoid(u), jax.nn.sigmoid(u) * jax.nn.sigmoid(-u)
