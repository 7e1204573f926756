"""The coefficients of one value so far, and the one convolution kernel that all rules go through.

A `Series` is known up to some order; what is not yet known counts as zero. It comes in two forms:

- a list of coefficients, for orders known when the program is traced (the unrolled driver, and the
  first orders of the other);
- a buffer `[orders, *value]`, filled from the front, for the orders of a scan.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Body = list[Array] | Array  # the coefficients of a series in one of the two forms
Order = int | Array


@dataclasses.dataclass(frozen=True)
class Series:
    """Coefficients 0 to n - 1 in `body`; `now` is coefficient n once it is known.

    `body` may know more than that (it does for a series given from outside).
    """

    body: Body
    now: Array | None = None

    @property
    def zero(self) -> Array:
        """The coefficient of order 0."""
        return self.body[0]

    @property
    def current(self) -> Array:
        """The coefficient of the order at hand."""
        assert self.now is not None
        return self.now

    def append(self, n: Order, coefficient: Array) -> "Series":
        """This series with coefficient n known."""
        if isinstance(self.body, list):
            return Series([*self.body, coefficient], coefficient)
        row = coefficient.astype(self.body.dtype)[None]
        return Series(lax.dynamic_update_slice_in_dim(self.body, row, n, axis=0), coefficient)


@dataclasses.dataclass(frozen=True)
class Product:
    """A bilinear operation: `pair` on two coefficients, `total` on two stacks of them, summed."""

    pair: Callable[[Any, Any], Any]
    total: Callable[[Any, Any], Any]


MULTIPLY = Product(pair=lax.mul, total=lambda a, b: jnp.sum(a * b, axis=0))


def convolve(
    a: Series,
    b: Series,
    n: Order,
    product: Product = MULTIPLY,
    weight: Callable[[Any], Any] | None = None,
) -> Array:
    """The sum over k of weight(k) a_k b_(n-k), or of a_k b_(n-k); unknown terms are 0.

    With the weight k, which is `of_order`, it is n times coefficient n of the integral of a' b.
    """
    if isinstance(a.body, list) and isinstance(b.body, list):
        assert isinstance(n, int)
        return _convolve_lists(a.body, b.body, n, product, weight)
    assert not isinstance(a.body, list)
    assert not isinstance(b.body, list)
    length = a.body.shape[0]
    left = a.body if weight is None else a.body * weight(_orders(a.body))
    return product.total(left, _reversed_from(b.body, n, length))


def of_order(k: Any) -> Any:
    """The weight that a derivative brings: k itself."""
    return k


def scale(coefficient: Array, factor: Order) -> Array:
    """A coefficient times an order."""
    return coefficient * real_order(factor, coefficient)


def divide(coefficient: Array, divisor: Order) -> Array:
    """A coefficient divided by an order."""
    return coefficient / real_order(divisor, coefficient)


def real_order(order: Order, like: Array) -> Array:
    """An order as a number of the real dtype of an array."""
    dtype = jnp.finfo(like.dtype).dtype
    return jnp.asarray(order, dtype) if isinstance(order, int) else order.astype(dtype)


def _orders(body: Array) -> Array:
    orders = jnp.arange(body.shape[0], dtype=jnp.finfo(body.dtype).dtype)
    return orders.reshape((-1,) + (1,) * (body.ndim - 1))


def _reversed_from(body: Array, n: Order, length: int) -> Array:
    """Coefficients n, n - 1, …, 0 and then zeros, `length` in all."""
    # A pad, a slice and a reversal that XLA fuses into the sum that reads them.
    zero = jnp.zeros((), body.dtype)
    padding = [(length - 1, 0, 0)] + [(0, 0, 0)] * (body.ndim - 1)
    return lax.rev(lax.dynamic_slice_in_dim(lax.pad(body, zero, padding), n, length), (0,))


def _convolve_lists(
    a: list[Array],
    b: list[Array],
    n: int,
    product: Product,
    weight: Callable[[Any], Any] | None,
) -> Array:
    total = None
    for k in range(max(0, n - len(b) + 1), min(n, len(a) - 1) + 1):
        factor = 1 if weight is None else weight(k)
        if isinstance(factor, int) and factor == 0:
            continue
        term = product.pair(a[k], b[n - k])
        if not (isinstance(factor, int) and factor == 1):
            term = scale(term, factor) if isinstance(factor, int) else factor * term
        total = term if total is None else total + term
    if total is None:
        shape = jax.eval_shape(product.pair, a[0], b[0])
        return jnp.zeros(shape.shape, shape.dtype)
    return total
