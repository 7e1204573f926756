"""The coefficients of one value so far, and the convolution that all rules use.

A `Series` is known up to some order; coefficients not yet known count as zero. It has two forms:

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

from ..jaxprs.convolution import convolution, reversed_from, sum_by_pairs

Body = list[Array] | Array  # the coefficients of a series in one of the two forms
Order = int | Array


@dataclasses.dataclass(frozen=True)
class Series:
    """Coefficients 0 to n - 1 in `body`; `now` is coefficient n once it is known.

    `body` may have more (a series given from outside does). With `entry`, the coefficients are
    that entry, along the first axis, of those in `whole`.
    """

    whole: Body
    now: Array | None = None
    entry: int | None = None

    @property
    def body(self) -> Body:
        """The coefficients, in one of the two forms."""
        if self.entry is None:
            return self.whole
        if isinstance(self.whole, list):
            return [lax.index_in_dim(one, self.entry, keepdims=False) for one in self.whole]
        return lax.index_in_dim(self.whole, self.entry, axis=1, keepdims=False)

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
        body = self.body
        if isinstance(body, list):
            return Series([*body, coefficient], coefficient)
        return Series(with_row(body, n, coefficient), coefficient)


def with_row(body: Array, n: Order, row: Array) -> Array:
    """A buffer with a coefficient at order n."""
    starts = [jnp.asarray(n, jnp.int32), *(jnp.zeros((), jnp.int32) for _ in row.shape)]
    row = lax.expand_dims(row.astype(body.dtype), (0,))
    return lax.dynamic_update_slice(body, row, starts, allow_negative_indices=False)


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
    """The sum over k of weight(k) a_k b_(n-k), with weight 1 by default; unknown terms are 0.

    With `of_order`, the weight k, it is n times coefficient n of the integral of a' b.
    """
    if isinstance(a.whole, list):
        assert isinstance(n, int)
        return _convolve_lists(a.body, b.body, n, product, weight)
    if product is not MULTIPLY:
        left: Any = a.body if weight is None else _weighted(a.body, weight)
        right: Any = b.body
        return product.total(left, reversed_from(right, n, len(left)))
    entries = a.entry, b.entry
    if weight is None:
        return convolution(a.whole, b.whole, n, entries=entries)
    weights = weight(_orders(a.body))
    if weights.size == len(weights):
        return convolution(a.whole, b.whole, n, weights, entries)
    return convolution(_weighted(a.body, weight), b.whole, n, entries=(None, b.entry))


def of_order(k: Any) -> Any:
    """The weight that a derivative brings: k itself."""
    return k


def scale(coefficient: Array, factor: Order) -> Array:
    """A coefficient times an order."""
    return coefficient * real_order(factor, coefficient)


def divide(coefficient: Array, divisor: Order) -> Array:
    """A coefficient divided by an order."""
    order = real_order(divisor, coefficient)
    if isinstance(divisor, int) or jnp.iscomplexobj(coefficient):
        return coefficient / order
    # One division for all entries, and a correction each, which is faster than a division each. If
    # the product and sum are rounded once, the quotient is the nearest number (Markstein, IBM
    # Journal of Research and Development 34, 1990).
    inverse = 1 / order
    quotient = coefficient * inverse
    return quotient + (coefficient - quotient * order) * inverse


def real_order(order: Order, like: Array) -> Array:
    """An order as a number of the real dtype of an array."""
    dtype = jnp.finfo(like.dtype).dtype
    return jnp.asarray(order, dtype) if isinstance(order, int) else order.astype(dtype)


def _orders(body: Any) -> Array:
    orders = jnp.arange(body.shape[0], dtype=jnp.finfo(body.dtype).dtype)
    return orders.reshape((-1,) + (1,) * (body.ndim - 1))


def _weighted(body: Any, weight: Callable[[Any], Any]) -> Array:
    return body * weight(_orders(body))


def _convolve_lists(
    a: Any,
    b: Any,
    n: int,
    product: Product,
    weight: Callable[[Any], Any] | None,
) -> Array:
    terms = []
    for k in range(max(0, n - len(b) + 1), min(n, len(a) - 1) + 1):
        factor = 1 if weight is None else weight(k)
        if isinstance(factor, int) and factor == 0:
            continue
        term = product.pair(a[k], b[n - k])
        if not (isinstance(factor, int) and factor == 1):
            term = scale(term, factor) if isinstance(factor, int) else factor * term
        terms.append(term)
    if not terms:
        shape = jax.eval_shape(product.pair, a[0], b[0])
        return jnp.zeros(shape.shape, shape.dtype)
    return sum_by_pairs(terms)
