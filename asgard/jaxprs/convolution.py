"""The convolution of two histories at one order, as one JAX primitive.

The terms past the present order are zero. Outside of kernels one sum over all terms is fastest: it
is a single operation. Within a kernel, where an operation costs only its arithmetic, a loop that
ends at the order does half the work. Such a loop has no reverse mode, and whether it is in a kernel
is known only when the program is lowered. So the convolution is a primitive, linear in each factor.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from .kernel_context import in_kernel
from .settings import default_promotion

# How many terms one turn of the loop adds. More for values of some sizes, for which the compiler
# unrolls a short turn into single numbers.
CHUNK, LONG_CHUNK = 4, 10
LONG_SIZES = range(7, 25)

# For each of the two histories, the index along the first axis of its values, or None for all.
Entries = tuple[int | None, int | None]

convolution_p = Primitive("asgard_convolution")


def convolution(
    a: Any,
    b: Any,
    n: int | Array,
    weights: Array | None = None,
    entries: Entries = (None, None),
) -> Array:
    """The sum over k from 0 to n of weights_k a_k b_(n-k).

    **Arguments:** `a` and `b` are buffers `[orders, *value]`, whose values broadcast to one another
    and have one rank; `weights` is a number for each order, 1 if not given. Past order n, `b` is
    not read and `a` is multiplied by 0.

    **Returns:** an array `[*value]`.
    """
    n = jnp.asarray(n, jnp.int32)
    if weights is None:
        dtype, factors = jnp.result_type(a, b), ()
    else:
        dtype = jnp.result_type(a, b, weights)
        real = jnp.finfo(dtype).dtype
        factors = (weights.ravel().astype(dtype if jnp.iscomplexobj(weights) else real),)
    return convolution_p.bind(a.astype(dtype), b.astype(dtype), n, *factors, entries=entries)


def whole(a: Array, b: Array, n: Array, *weights: Array, entries: Entries) -> Array:
    """The convolution as one sum over all orders."""
    a, b = map(_entry, (a, b), entries)
    return jnp.sum(_weighted(a, weights) * reversed_from(b, n, a.shape[0]), axis=0)


def reversed_from(body: Array, n: int | Array, length: int) -> Array:
    """Coefficients n, n - 1, …, 0 and then zeros, `length` in all.

    XLA fuses the pad, the slice and the reversal into the sum that reads them.
    """
    zero = jnp.zeros((), body.dtype)
    padding = [(length - 1, 0, 0)] + [(0, 0, 0)] * (body.ndim - 1)
    return lax.rev(lax.dynamic_slice_in_dim(lax.pad(body, zero, padding), n, length), (0,))


def _entry(body: Array, entry: int | None) -> Array:
    return body if entry is None else lax.index_in_dim(body, entry, axis=1, keepdims=False)


def _weighted(a: Array, weights: Sequence[Array]) -> Array:
    """A history times its weights, if there are any."""
    for factors in weights:
        a = a * lax.expand_dims(factors, range(1, a.ndim))
    return a


def _up_to(a: Array, b: Array, n: Array, *weights: Array, entries: Entries) -> Array:
    """A loop up to order n: first the terms that fill no chunk, then one chunk a turn."""
    size = math.prod(_abstract(a, b, n, entries=entries).shape)
    count = LONG_CHUNK if size in LONG_SIZES else CHUNK
    if a.shape[0] <= 2 * count:
        return whole(a, b, n, *weights, entries=entries)
    one, chunk, zero = (jnp.asarray(k, n.dtype) for k in (1, count, 0))
    turns, rest = lax.div(n + one, chunk), lax.rem(n + one, chunk)
    factors = [(a, entries[0]), *((one, None) for one in weights)]

    def terms(k: Array, others: Sequence[Array]) -> list[Array]:
        rows = zip(*(_rows(body, k, count, entry) for body, entry in factors), others, strict=False)
        return [functools.reduce(operator.mul, row) for row in rows]

    def turn(number: Array, total: Array) -> Array:
        k = rest + number * chunk
        return total + sum_by_pairs(
            terms(k, _rows(b, n - k - (chunk - one), count, entries[1])[::-1])
        )

    # Those of the first few terms that are past the order count as zero.
    last = [lax.max(n - jnp.asarray(j, n.dtype), zero) for j in range(count - 1)]
    others = [row for k in last for row in _rows(b, k, 1, entries[1])]
    first = [
        jnp.where(jnp.asarray(j, n.dtype) < rest, term, jnp.zeros_like(term))
        for j, term in enumerate(terms(zero, others))
    ]
    return lax.fori_loop(zero, turns, turn, sum_by_pairs(first))


def _rows(body: Array, start: Array, count: int, entry: int | None) -> list[Array]:
    """`count` coefficients of a history, from order `start` on."""
    starts, sizes = [start], [count]
    if entry is not None:
        starts, sizes = [start, jnp.asarray(entry, start.dtype)], [count, 1]
    rest = body.shape[len(sizes) :]
    starts += [jnp.zeros((), start.dtype)] * len(rest)
    taken = lax.dynamic_slice(body, starts, (*sizes, *rest), allow_negative_indices=False)
    taken = lax.reshape(taken, (count, *rest))
    return [lax.index_in_dim(taken, j, keepdims=False) for j in range(count)]


def sum_by_pairs(terms: Sequence[Array]) -> Array:
    """The sum of some terms, by pairs, so that the processor adds several at once."""
    while len(terms) > 1:
        pairs = [terms[j] + terms[j + 1] for j in range(0, len(terms) - 1, 2)]
        terms = [*pairs, *terms[2 * len(pairs) :]]
    return terms[0]


def _abstract(a: Any, b: Any, n: Any, *weights: Any, entries: Entries) -> ShapedArray:
    shapes = (body.shape[1 + (e is not None) :] for body, e in zip((a, b), entries, strict=True))
    return ShapedArray(jnp.broadcast_shapes(*shapes), a.dtype)


@default_promotion()
def _differentiate(
    primals: Sequence[Any], tangents: Sequence[Any], *, entries: Entries
) -> tuple[Any, Any]:
    value = convolution_p.bind(*primals, entries=entries)
    total: Any = ad.Zero(jax.typeof(value).to_tangent_aval())
    for index, tangent in enumerate(tangents):
        if index != 2 and not isinstance(tangent, ad.Zero):
            varied = [*primals[:index], tangent, *primals[index + 1 :]]
            total = ad.add_tangents(total, convolution_p.bind(*varied, entries=entries))
    return value, total


@default_promotion()
def _transpose(
    cotangent: Any, a: Any, b: Any, n: Any, *weights: Any, entries: Entries
) -> list[Any]:
    """The cotangent of the one unknown factor: the given one times the other two, by order."""
    after = [None] * len(weights)
    if ad.is_undefined_primal(b):
        factor = reversed_from(_weighted(_entry(a, entries[0]), weights), n, b.aval.shape[0])
        return [None, _narrowed(cotangent * factor, b.aval, entries[1]), None, *after]
    factor = reversed_from(_entry(b, entries[1]), n, b.shape[0])
    if ad.is_undefined_primal(a):
        product = _weighted(cotangent * factor, weights)
        return [_narrowed(product, a.aval, entries[0]), None, None, *after]
    product = cotangent * factor * _entry(a, entries[0])
    total = jnp.sum(product, axis=range(1, product.ndim))
    real = jnp.issubdtype(weights[0].aval.dtype, jnp.floating)
    return [None, None, None, total.real if real else total]


def _narrowed(product: Array, aval: Any, entry: int | None) -> Array:
    """The cotangent of a history, from that of its entry after it was broadcast."""
    shape = aval.shape if entry is None else (aval.shape[0], *aval.shape[2:])
    axes = [axis for axis, size in enumerate(shape) if size != product.shape[axis]]
    product = jnp.sum(product, axis=axes, keepdims=True) if axes else product
    if entry is None:
        return product
    padding = [(0, 0, 0)] * aval.ndim
    padding[1] = (entry, aval.shape[1] - 1 - entry, 0)
    return lax.pad(lax.expand_dims(product, (1,)), jnp.zeros((), product.dtype), padding)


@default_promotion()
def _batch(operands: Sequence[Any], axes: Sequence[Any], *, entries: Entries) -> tuple[Any, int]:
    a, b, n, *weights = operands
    a_axis, b_axis, n_axis, *weights_axes = axes
    if n_axis is not None or 0 in (a_axis, b_axis):
        return jax.vmap(functools.partial(whole, entries=entries), in_axes=axes)(*operands), 0
    a, b = _with_batch_last(a, a_axis), _with_batch_last(b, b_axis)
    if weights_axes and weights_axes[0] is not None:
        rows = jnp.moveaxis(weights.pop(), weights_axes[0], -1)
        a = a * lax.expand_dims(rows, range(1, a.ndim - 1))
    result = convolution_p.bind(a, b, n, *weights, entries=entries)
    return result, result.ndim - 1


def _with_batch_last(body: Array, axis: int | None) -> Array:
    return body[..., None] if axis is None else jnp.moveaxis(body, axis, -1)


# Traced once for each type.
_compiled_whole = jax.jit(whole, static_argnames="entries")
_compiled_up_to = jax.jit(_up_to, static_argnames="entries")


@default_promotion()
def _lower(ctx: Any, *operands: Any, entries: Entries) -> Any:
    fn = _compiled_up_to if in_kernel() else _compiled_whole
    return mlir.lower_fun(fn, multiple_results=False)(ctx, *operands, entries=entries)


convolution_p.def_abstract_eval(_abstract)
convolution_p.def_impl(_compiled_whole)
ad.primitive_jvps[convolution_p] = _differentiate
ad.primitive_transposes[convolution_p] = _transpose
batching.primitive_batchers[convolution_p] = _batch
mlir.register_lowering(convolution_p, _lower, cacheable=False)
