"""An array taken apart into many, as one kernel.

XLA on the CPU compiles a function for each array that a program gives back, at 5 to 10 ms each: of
1,000 outputs that are rows of one array, 10 s. Within a kernel they are one function.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from .kernel import as_kernel, may_hold_kernels

# From so many on a kernel is worth it.
MANY = 32

_apart = Primitive("asgard_apart")
_apart.multiple_results = True


def apart(array: Array, axis: int) -> list[Array]:
    """The entries of an array along an axis."""
    count = array.shape[axis]
    return _apart.bind(array, axis=axis) if count >= MANY else _entries(array, axis=axis)


def _entries(array: Array, *, axis: int) -> list[Array]:
    return [
        lax.index_in_dim(array, index, axis, keepdims=False) for index in range(array.shape[axis])
    ]


def _abstract(array: Any, *, axis: int) -> list[ShapedArray]:
    shape = (*array.shape[:axis], *array.shape[axis + 1 :])
    return [ShapedArray(shape, array.dtype)] * array.shape[axis]


def _differentiate(primals: Sequence[Any], tangents: Sequence[Any], *, axis: int) -> Any:
    values, (tangent,) = _apart.bind(*primals, axis=axis), tangents
    if isinstance(tangent, ad.Zero):
        return values, [ad.Zero(jax.typeof(value).to_tangent_aval()) for value in values]
    return values, _apart.bind(tangent, axis=axis)


def _transpose(cotangents: Sequence[Any], array: Any, *, axis: int) -> list[Array]:
    return [jnp.stack([ad.instantiate_zeros(cotangent) for cotangent in cotangents], axis)]


def _batch(operands: Sequence[Any], axes: Sequence[int], *, axis: int) -> tuple[list[Array], Any]:
    array = jnp.moveaxis(operands[0], axes[0], 0)
    return _apart.bind(array, axis=axis + 1), [0] * array.shape[axis + 1]


def _as_kernel(array: Any, *, axis: int) -> list[Array]:
    return as_kernel(lambda array: _entries(array, axis=axis), array)[0]


_lower_entries = mlir.lower_fun(_entries, multiple_results=True)
_lower_as_kernel = mlir.lower_fun(_as_kernel, multiple_results=True)


def _lower(context: mlir.LoweringRuleContext, array: Any, *, axis: int) -> Any:
    rule = _lower_as_kernel if may_hold_kernels(context) else _lower_entries
    return rule(context, array, axis=axis)


_apart.def_abstract_eval(_abstract)
_apart.def_impl(_entries)
ad.primitive_jvps[_apart] = _differentiate
ad.primitive_transposes[_apart] = _transpose
batching.primitive_batchers[_apart] = _batch
mlir.register_lowering(_apart, _lower_entries)
mlir.register_lowering(_apart, _lower, platform="cpu")
