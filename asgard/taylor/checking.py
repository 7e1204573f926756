"""Whether rules are right: the series of a function beside derivatives that JAX finds."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..circuits.fields import as_inexact, as_order
from ..circuits.stream import Stream
from ..errors import CircuitError
from ..jaxprs.own_functions import check_takes
from .expansion import expand


def check_rules(fn: Callable[..., Any], *at: Any, order: int = 4) -> None:
    """Raises `CircuitError` where the rule of a primitive in a function gives a wrong series.

    It takes the series of `fn` along a curve through `at`, and compares its coefficients with the
    value of `fn` and with its derivatives along that curve, by `jax.jvp` upon itself. So a
    primitive needs a rule for its derivative in JAX, which is checked with it. Their cost doubles
    with each order.

    **Arguments:**

    - `fn`: a jnp function of arrays that returns an array or a pytree of arrays.
    - `at`: where: a number or array for each argument of `fn`. Whole numbers become floats.
    - `order`: up to which order.

    **Raises:** `CircuitError` that says which coefficient differs; and where there is no rule, or
    JAX has no derivative.

    ```python
    ag.taylor.check_rules(lambda u: my_gaussian.bind(u), 0.3)
    ```
    """
    if not callable(fn):
        raise CircuitError(f"check_rules takes a function, not {fn!r}")
    order = as_order("check_rules: order", order)
    names = [f"argument {number}" for number in range(1, len(at) + 1)]
    check_takes("check_rules: the function", fn, *names)
    values = [as_inexact(name, value) for name, value in zip(names, at, strict=True)]
    if not values:
        raise CircuitError("check_rules takes at least one number, where the function is looked at")
    draws = np.random.default_rng(0)
    curves = [_curve(value, draws) for value in values]
    padded = [jnp.zeros((*value.shape, order + 1), value.dtype) for value in values]
    streams = [
        Stream(zeros.at[..., : curve.shape[-1]].set(curve[..., : order + 1]), "s")
        for zeros, curve in zip(padded, curves, strict=True)
    ]
    found = jax.tree.map(
        lambda stream: stream.coefficients, expand(fn, *streams), is_leaf=_is_stream
    )
    try:
        wanted = jax.jit(lambda curves: _derivatives(fn, curves, order))(curves)
    except NotImplementedError as error:
        raise CircuitError(f"check_rules compares with derivatives by JAX: {error}") from error
    for n in range(order + 1):
        for series, derivative in zip(
            jax.tree.leaves(found), jax.tree.leaves(wanted[n]), strict=True
        ):
            _compare(n, series[..., n], derivative / math.factorial(n))


def _curve(value: Array, draws: np.random.Generator) -> Array:
    """The coefficients of a parabola through a value, `[*value, 3]`."""
    bends = draws.uniform(0.5, 1.0, (*value.shape, 2))
    return jnp.concatenate([value[..., None], jnp.asarray(bends, value.dtype)], -1)


def _derivatives(fn: Callable[..., Any], curves: list[Array], order: int) -> list[Any]:
    """The derivatives of orders 0 to `order` of a function along parabolas, at their start."""

    def along(s: Array) -> Any:
        points = (c[..., 0] + s * (c[..., 1] + s * c[..., 2]) for c in curves)
        return jax.tree.map(jnp.asarray, fn(*points))

    def slope(f: Callable[[Array], Any]) -> Callable[[Array], Any]:
        return lambda s: jax.jvp(f, (s,), (jnp.ones_like(s),))[1]

    found, start = [], jnp.zeros((), jnp.finfo(jnp.result_type(*curves)).dtype)
    derivative: Callable[[Array], Any] = along
    for _ in range(order + 1):
        found.append(derivative(start))
        derivative = slope(derivative)
    return found


def _compare(n: int, found: Array, wanted: Array) -> None:
    """Raises where coefficients of order n differ by more than half of their digits."""
    scale = jnp.maximum(1.0, jnp.max(jnp.abs(wanted), initial=0.0))
    far = jnp.max(jnp.abs(found - wanted), initial=0.0)
    if not far <= jnp.sqrt(jnp.finfo(wanted.dtype).eps) * scale:
        by = "by the function itself" if n == 0 else "by JAX's derivatives"
        raise CircuitError(
            f"check_rules: coefficient {n} is {found} by the rules and {wanted} {by}: the rule of "
            "a primitive in the function is wrong, or what JAX knows of it"
        )


def _is_stream(node: Any) -> bool:
    return isinstance(node, Stream)
