"""Functions said in other functions that have rules."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ...jaxprs.concrete import is_concrete
from ..registry import Rewrite
from ..rule import Application, Rule
from .recurrences import power_step


def integer_power(u: Any, *, y: int) -> Any:
    """u^y by squaring: a negative y by the power of 1 / u."""
    if y == 0:
        return jnp.ones_like(u)
    if y < 0:
        return integer_power(1 / u, y=-y)  # 1 / u^-y would lose digits in the division
    result = None
    while y:
        if y & 1:
            result = u if result is None else result * u
        y >>= 1
        if y:
            u = u * u
    return result


def power(application: Application) -> Rule | Rewrite:
    """u^p: products where p is a known natural number, so that it holds at u = 0 too."""
    exponent = application.values[1]
    if exponent is not None and is_concrete(exponent) and np.ndim(exponent) == 0:
        number = complex(exponent)
        if number.imag == 0 and number.real >= 0 and number.real.is_integer():
            return Rewrite(lambda u, _: integer_power(u, y=int(number.real)))
    if application.carried[1]:
        return Rewrite(lambda u, p: jnp.exp(p * jnp.log(u)))
    return Rule(application.equation.bind, power_step)


def maximum(a: Any, b: Any) -> Any:
    """The larger at order 0, the first of two equals; NaN where either is."""
    return jnp.where((a >= b) | (a != a), a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller at order 0, the first of two equals; NaN where either is."""
    return jnp.where((a <= b) | (a != a), a, b)


def absolute(u: Any) -> Any:
    """|u|, by the sign at order 0 where u is real."""
    if jnp.iscomplexobj(u):
        return jnp.sqrt(u.real * u.real + u.imag * u.imag)
    return jnp.where(u < 0, -u, u)


def remainder(a: Any, b: Any) -> Any:
    """a - b trunc(a / b), with the sign of a."""
    quotient = a / b
    return a - b * (jnp.sign(quotient) * jnp.floor(quotient * jnp.sign(quotient)))


def atan2(y: Any, x: Any) -> Any:
    """The angle of (x, y), from the arctangent of the quotient that is at most 1."""
    steep = jnp.abs(y) > jnp.abs(x)
    ratio = jnp.where(steep, -x, y) / jnp.where(steep, y, x)
    half = jnp.where(y < 0, -math.pi, math.pi)
    return jnp.arctan(ratio) + jnp.where(steep, half / 2, jnp.where(x < 0, half, 0))


def x_log_y(x: Any, y: Any) -> Any:
    """x log(y), which is 0 where both vanish."""
    both = (x == 0) & (y == 0)
    return jnp.where(both, 0, x * jnp.log(jnp.where(both, 1, y)))


def pooled(u: Any, sign: int, options: dict[str, Any]) -> Any:
    """In each window the largest entry of `sign * u` at order 0."""
    flat = u.reshape(-1)
    by_rank = jnp.argsort(sign * flat)
    ranks = jnp.argsort(by_rank).reshape(u.shape)
    lowest = jnp.asarray(-1, ranks.dtype)
    return flat[by_rank[lax.reduce_window(ranks, lowest, lax.max, **options)]]


def product_over(u: Any, *, axes: Sequence[int], **_: Any) -> Any:
    """A product over axes, by halves: each entry goes through few products of series."""
    kept = [axis for axis in range(u.ndim) if axis not in axes]
    u = jnp.transpose(u, (*axes, *kept))
    u = u.reshape((-1, *u.shape[len(axes) :]))
    while len(u) > 1:
        half = len(u) // 2
        u = jnp.concatenate([u[:half] * u[half : 2 * half], u[2 * half :]])
    return u[0] if len(u) else jnp.ones(u.shape[1:], u.dtype)


def polynomial(x: Any, *coefficients: Any, **_: Any) -> Any:
    """Horner's rule; the coefficients begin with the constant term."""
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def cumulative(operation: Callable[[Any, Any], Any], u: Any, *, axis: int, reverse: bool) -> Any:
    """The running result of an operation along an axis."""
    return lax.associative_scan(operation, u, reverse=reverse, axis=axis)
