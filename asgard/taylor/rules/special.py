"""Special functions as sums of elementary ones that hold at every order.

An approximation of a value is no approximation of its high derivatives. A mean over an angle is:
sums over few nodes are exact for the powers of the integrand that high orders bring, and positive
weights lose no digits.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..registry import Rewrite
from ..rule import Application, Rule
from ..series import Order, Series, convolve, divide, of_order

# Past this, the modified Bessel functions take the nodes for large arguments.
_LARGE = 256


def sinc(application: Application) -> Rule:
    """sin(v) / v with v = pi u, and 1 at v = 0.

    Up to order |v| it is the quotient, whose recurrence divides by v and so loses digits past it.
    From there on it is the mean of cos(v y) over 0 < y < 1, which loses digits where |v| is the
    larger. The last node is y = 1, with weight 0.
    """
    dtype = application.avals[0].dtype
    nodes, weights = _fejer(48)
    nodes = jnp.asarray(math.pi * np.append(nodes, 1.0), dtype)
    weights = jnp.asarray(np.append(weights, 0.0), dtype)

    def start(u: Any) -> tuple[Any, Any, Any]:
        return jnp.sinc(u), jnp.cos(u[..., None] * nodes), jnp.sin(u[..., None] * nodes)

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (u,), (value, cos, sin) = operands, series
        body = u.body
        wide = Series([x[..., None] for x in body] if isinstance(body, list) else body[..., None])
        cos_n = -nodes * divide(convolve(wide, sin, n, weight=of_order), n)
        sin_n = nodes * divide(convolve(wide, cos, n, weight=of_order), n)
        large = jnp.abs(u.zero) * math.pi > n
        divisor = jnp.where(large, u.zero, 1)
        quotient = (sin_n[..., -1] / math.pi - convolve(u, value, n)) / divisor
        return [jnp.where(large, quotient, jnp.sum(weights * cos_n, axis=-1)), cos_n, sin_n]

    return Rule(start, step)


def _fejer(count: int) -> tuple[Any, Any]:
    """Nodes and weights for means of even functions over 0 < y < 1, by Fejer's first rule.

    (Waldvogel, *BIT Numerical Mathematics* 46, 2006. Its weights are exact to rounding; those of
    `numpy.polynomial.legendre.leggauss` are off by up to 1e-12.)
    """
    angles = np.pi / (4 * count) * np.arange(1, 2 * count, 2)
    j = np.arange(1, count)[:, None]
    weights = 1 - 2 * np.sum(np.cos(2 * j * angles) / (4 * j * j - 1), axis=0)
    return np.cos(angles), weights / count


def digamma(u: Any) -> Any:
    """The asymptotic series at u + 14, and the recurrence back to u; below 1/2 the reflection.

    The shift is for large u, too: it makes what the asymptotic series leaves out vanish at every
    order beside the poles at 0, -1, ...
    """
    mirrored = u < 0.5
    z = jnp.where(mirrored, 1 - u, u)
    shift = 14
    steps = jnp.sum(1 / (z[..., None] + jnp.arange(shift, dtype=u.dtype)), axis=-1)
    large = z + shift
    inverse = 1 / (large * large)
    total: Any = jnp.zeros_like(u)
    for bernoulli in reversed(_BERNOULLI):
        total = (total + bernoulli) * inverse
    value = jnp.log(large) - 0.5 / large - total - steps
    angle = math.pi * jnp.where(mirrored, u, 0.25)  # elsewhere any number without a pole
    return jnp.where(mirrored, value - math.pi * jnp.cos(angle) / jnp.sin(angle), value)


# B_2k / 2k, the coefficients of the digamma function's asymptotic series.
_BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)


def bessel_i(order: int) -> Callable[[Any], Any]:
    """I_0 or I_1: the mean of exp(u cos a), times cos a for I_1, over an angle a.

    For large u it is exp(|u|) times the scaled function.
    """
    count = 80
    cosines = np.cos(np.pi / count * np.arange(count + 1))
    weights = _trapezoid(count) * cosines**order
    scaled = (bessel_i0e, bessel_i1e)[order]

    def run(u: Any) -> Any:
        large = jnp.abs(u) > 64
        small = jnp.where(large, 0, u)[..., None]
        terms = jnp.asarray(weights, u.dtype) * jnp.exp(small * jnp.asarray(cosines, u.dtype))
        return jnp.where(large, jnp.exp(jnp.abs(u)) * scaled(u), jnp.sum(terms, axis=-1))

    return run


def bessel_i0e(u: Any) -> Any:
    """exp(-|u|) I_0(u): the mean of exp(|u| (cos a - 1)) over an angle a (DLMF 10.32.1)."""
    sums, _ = _bessel_i(jnp.where(u < 0, -u, u))
    return sums


def bessel_i1e(u: Any) -> Any:
    """exp(-|u|) I_1(u): the mean of cos(a) exp(|u| (cos a - 1)) over an angle a."""
    _, sums = _bessel_i(jnp.where(u < 0, -u, u))
    return jnp.where(u < 0, -sums, sums)


def _bessel_i(v: Any) -> tuple[Any, Any]:
    """Both means for v >= 0, as sums of weights times exp(-v q), where q = 1 - cos a.

    The trapezoidal rule in a is exact to rounding up to v = 256. For larger v, what counts has
    q < 14^2 / v: there it is the rule in y = sqrt(q v), with v at order 0.
    """
    count = 80
    steps = np.arange(count + 1)
    ends = _trapezoid(count)
    large = v > _LARGE
    scale = jnp.where(large, jnp.round(v), _LARGE)[..., None]  # round has no series
    angles, y = np.pi / count * steps, 14 / count * steps
    near = jnp.asarray(1 - np.cos(angles), v.dtype)
    far = jnp.asarray(y * y, v.dtype) / scale
    far_weights = 28 / math.pi * ends / jnp.sqrt(scale * (2 - far))
    q = jnp.where(large[..., None], far, near)
    weights = jnp.where(large[..., None], far_weights, ends).astype(v.dtype)
    terms = weights * jnp.exp(-v[..., None] * q)
    return jnp.sum(terms, axis=-1), jnp.sum((1 - q) * terms, axis=-1)


def _trapezoid(count: int) -> Any:
    """The weights of the trapezoidal rule on `count` intervals, for means."""
    weights = np.full(count + 1, 1 / count)
    weights[[0, -1]] /= 2
    return weights


def bessel_jn(application: Application) -> Rewrite:
    """J_0(z), ..., J_v(z), [v + 1, *z]: means of cos(k a - z sin a) over an angle a (DLMF 10.9.2).

    By symmetry a quarter of the circle is enough, for even k with the cosines of z sin a and for
    odd k with the sines. `jax.scipy.special.bessel_jn` divides by z and is for |z| up to about 50.
    """
    highest = application.outputs[0].shape[0] - 1
    quarter = 33 + highest // 2
    angles = np.pi / (2 * quarter) * np.arange(quarter + 1)
    weights = _trapezoid(quarter)

    def run(z: Any) -> Any:
        phase = z[..., None] * jnp.asarray(np.sin(angles), z.dtype)
        means = [(jnp.cos(phase), np.cos), (jnp.sin(phase), np.sin)]
        found = []
        for k in range(highest + 1):
            waves, factor = means[k % 2]
            found.append(
                jnp.sum(waves * jnp.asarray(weights * factor(k * angles), z.dtype), axis=-1)
            )
        return jnp.stack(found)

    return Rewrite(run)
