"""Operations on known numbers by NumPy.

JAX compiles each operation for its shapes, about 50 ms a time, and then takes 50 us for each call.
NumPy takes 5 us, which counts where loops are followed turn by turn.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax import lax
from jax.lax import GatherScatterMode

from .program import Equation


def knows(equation: Equation, values: Sequence[Any]) -> bool:
    """Whether an equation on known values needs nothing but NumPy."""
    if equation.name == "convert_element_type":
        return values[0].dtype.kind in "biu"
    return equation.name in _ARITHMETIC or equation.name in _WITH_PARAMETERS


def bind(equation: Equation, values: Sequence[Any]) -> list[np.ndarray]:
    """The results of an equation on known values."""
    name = equation.name
    with np.errstate(all="ignore"):  # JAX says nothing of overflows either
        if name in _ARITHMETIC:
            results = _ARITHMETIC[name](*values)
        elif name in _WITH_PARAMETERS:
            results = _WITH_PARAMETERS[name](*values, **equation.params)
        else:
            results = equation.bind(*values)
    return list(map(np.asarray, results if isinstance(results, list) else [results]))


def _slice(x: np.ndarray, *, start_indices: Any, limit_indices: Any, strides: Any) -> np.ndarray:
    steps = strides or [1] * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _pad(x: np.ndarray, value: Any, *, padding_config: Any) -> np.ndarray:
    for axis, (low, high, inner) in enumerate(padding_config):
        count = x.shape[axis]
        places = low + np.arange(count) * (inner + 1)
        length = low + high + count + max(count - 1, 0) * inner
        kept = (places >= 0) & (places < length)
        padded = np.full((*x.shape[:axis], length, *x.shape[axis + 1 :]), value, x.dtype)
        padded[(slice(None),) * axis + (places[kept],)] = np.compress(kept, x, axis)
        x = padded
    return x


def _broadcast_in_dim(
    x: np.ndarray, *, shape: Any, broadcast_dimensions: Any, **_: Any
) -> np.ndarray:
    lengths = [1] * len(shape)
    for axis, length in zip(broadcast_dimensions, np.shape(x), strict=True):
        lengths[axis] = length
    return np.broadcast_to(np.reshape(x, lengths), shape)


def _split(x: np.ndarray, *, sizes: Any, axis: int) -> list[np.ndarray]:
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _window(shape: Sequence[int], part: Sequence[int], starts: Any) -> tuple[slice, ...]:
    """The place of a part, moved inside where it does not fit."""
    firsts = [
        int(np.clip(start, 0, whole - length))
        for start, whole, length in zip(starts, shape, part, strict=True)
    ]
    return tuple(slice(first, first + length) for first, length in zip(firsts, part, strict=True))


def _dynamic_slice(x: np.ndarray, *starts: Any, slice_sizes: Any) -> np.ndarray:
    return x[_window(x.shape, slice_sizes, starts)]


def _dynamic_update_slice(x: np.ndarray, part: np.ndarray, *starts: Any) -> np.ndarray:
    updated = x.copy()
    updated[_window(x.shape, part.shape, starts)] = part
    return updated


def _reshape(x: np.ndarray, *, new_sizes: Any, dimensions: Any, **_: Any) -> np.ndarray:
    return np.reshape(x if dimensions is None else np.transpose(x, dimensions), new_sizes)


# The primitives that only move numbers, as functions of their operands and parameters. There is
# none for `gather`: see `gathered_from`.
MOVES: dict[str, Callable[..., Any]] = {
    "slice": _slice,
    "pad": _pad,
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": _reshape,
    "squeeze": lambda x, *, dimensions, **_: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda x, *, permutation, **_: np.transpose(x, permutation),
    "rev": lambda x, *, dimensions, **_: np.flip(x, tuple(dimensions)),
    "concatenate": lambda *xs, dimension, **_: np.concatenate(xs, dimension),
    "split": _split,
    "stack": lambda *xs, axis, **_: np.stack(xs, axis),
    "unstack": lambda x, *, axis, **_: list(np.moveaxis(x, axis, 0)),
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
}


def _select_n(which: Any, *cases: Any) -> Any:
    chosen = cases[0]
    for index, case in enumerate(cases[1:], 1):
        chosen = np.where(np.equal(which, index), case, chosen)
    return chosen


def _rem(x: Any, y: Any) -> Any:
    """The remainder. As XLA has it, that by a whole number 0 is x."""
    found = np.fmod(x, y)
    return np.where(np.equal(y, 0), x, found) if np.asarray(y).dtype.kind in "iu" else found


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "rem": _rem,
    "sign": np.sign,
    "max": np.maximum,
    "min": np.minimum,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "select_n": _select_n,
}


def _converted(x: Any, *, new_dtype: Any, **_: Any) -> Any:
    if np.asarray(x).dtype.kind in "biu":
        return np.asarray(x).astype(new_dtype)
    return lax.convert_element_type(x, new_dtype)


def _iota(*, dtype: Any, shape: Any, dimension: int, **_: Any) -> np.ndarray:
    lengths = [-1 if axis == dimension else 1 for axis in range(len(shape))]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(lengths), shape)


_WITH_PARAMETERS = {**MOVES, "convert_element_type": _converted, "iota": _iota}


def gathered_from(equation: Equation, shape: Sequence[int], indices: np.ndarray) -> np.ndarray:
    """For each entry that `gather` gives the number of that which it reads in an array of a shape,
    counted from 1. 0 if it reads none."""
    dims, mode = equation.params["dimension_numbers"], equation.params["mode"]
    return _windows(
        shape,
        indices,
        sizes=equation.params["slice_sizes"],
        steered=dims.start_index_map,
        single=(*dims.collapsed_slice_dims, *dims.operand_batching_dims),
        shared=dict(zip(dims.operand_batching_dims, dims.start_indices_batching_dims, strict=True)),
        window_axes=dims.offset_dims,
        moved_inside=mode != GatherScatterMode.FILL_OR_DROP,
    )


def scattered_to(
    equation: Equation, shape: Sequence[int], indices: np.ndarray, updates: Sequence[int]
) -> np.ndarray:
    """For each update of a `scatter` the number of the entry that it goes to, likewise."""
    dims, mode = equation.params["dimension_numbers"], equation.params["mode"]
    single = (*dims.inserted_window_dims, *dims.operand_batching_dims)
    lengths = iter(updates[axis] for axis in dims.update_window_dims)
    return _windows(
        shape,
        indices,
        sizes=[1 if axis in single else next(lengths) for axis in range(len(shape))],
        steered=dims.scatter_dims_to_operand_dims,
        single=single,
        shared=dict(
            zip(dims.operand_batching_dims, dims.scatter_indices_batching_dims, strict=True)
        ),
        window_axes=dims.update_window_dims,
        moved_inside=mode == GatherScatterMode.CLIP,
    )


def _windows(
    shape: Sequence[int],
    indices: np.ndarray,
    *,
    sizes: Sequence[int],
    steered: Sequence[int],
    single: Sequence[int],
    shared: Mapping[int, int],
    window_axes: Sequence[int],
    moved_inside: bool,
) -> np.ndarray:
    """The numbers of entries in windows of an array of a shape.

    Windows of `sizes` begin at `indices`, `[*windows, axis]`, along the axes `steered`. An axis of
    the array that is `shared` is one of the windows, too: along it each begins at its own number.
    The axes that are not `single` are the `window_axes` of the result. A window that is not all
    inside is moved inside, or has zeros.
    """
    many = indices.shape[:-1]
    first = np.zeros((*many, len(shape)), int)
    first[..., list(steered)] = indices
    for axis, of_windows in shared.items():
        lengths = [-1 if i == of_windows else 1 for i in range(len(many))]
        first[..., axis] = np.arange(many[of_windows]).reshape(lengths)
    last = np.subtract(shape, sizes).astype(int)
    inside = np.all((first >= 0) & (first <= last), axis=-1)
    strides = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], int)
    numbers = 1 + np.clip(first, 0, last) @ strides
    if not moved_inside:
        numbers = np.where(inside, numbers, 0)
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if axis not in single:
            numbers = numbers[..., None]
            numbers = np.where(numbers > 0, numbers + np.arange(size) * stride, 0)
    count = len(window_axes)
    return np.moveaxis(numbers, range(len(many), len(many) + count), window_axes)
