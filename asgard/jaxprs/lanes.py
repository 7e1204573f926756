"""Lanes: a program run for many values at once, side by side along a last axis.

`jax.vmap` puts the batch first, so that what a loop touches together lies apart. With the batch
last, every operation on small values becomes one on contiguous lanes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .primitives import traits
from .program import Equation, Program, from_jaxpr, scan_counts

# Whether a value has lanes, next to it.
Laned = tuple[Any, bool]


def run_in_lanes(program: Program, inputs: Sequence[Laned], size: int) -> list[Laned]:
    """The outputs of a program of which some inputs have `size` lanes."""
    values: dict[int, Laned] = {number: (c, False) for number, c in program.constants.items()}
    values.update(zip(program.inputs, inputs, strict=True))
    for equation in program.equations:
        operands = [values[number] for number in equation.ins]
        shapes = [program.avals[number].shape for number in equation.outs]
        values.update(zip(equation.outs, _apply(equation, operands, shapes, size), strict=True))
    return [values[number] for number in program.outputs]


def spread(value: Laned, size: int, shape: tuple[int, ...] | None = None) -> Array:
    """A value with lanes, broadcast to `shape` before them."""
    array, laned = value
    array = jnp.asarray(array)
    own = array.shape[: array.ndim - laned]
    shape = own if shape is None else shape
    if laned and own == shape:
        return array
    places = tuple(range(len(shape) - len(own), len(shape)))
    return lax.broadcast_in_dim(array, (*shape, size), (*places, len(shape)) if laned else places)


def _apply(
    equation: Equation, operands: list[Laned], shapes: list[tuple[int, ...]], size: int
) -> list[Laned]:
    if not any(laned for _, laned in operands):
        return [(value, False) for value in equation.bind(*(value for value, _ in operands))]
    name, known = equation.name, traits(equation.name)
    if known.elementwise:
        return [(equation.bind(*_aligned(operands, shapes[0], size))[0], True)]
    if known.leading_axes:
        results = equation.bind(*(spread(operand, size) for operand in operands))
        return [(result, True) for result in results]
    steering = [] if known.steered_from is None else operands[known.steered_from :]
    if name in _RULES and not any(laned for _, laned in steering):
        return _RULES[name](equation.params, operands, shapes, size)
    if name == "dynamic_slice":
        return _slice_of_each_lane(equation.params, operands, size)
    return _by_vmap(equation, operands, size)


def _aligned(operands: list[Laned], shape: tuple[int, ...], size: int) -> list[Any]:
    """The operands with lanes and of one shape; numbers may stay as they are."""
    return [
        value
        if shape and not laned and jnp.ndim(value) == 0
        else spread((value, laned), size, shape)
        for value, laned in operands
    ]


def _by_vmap(equation: Equation, operands: list[Laned], size: int) -> list[Laned]:
    def bind(*values: Any) -> list[Any]:
        return equation.bind(*values)

    axes = [-1 if laned else None for _, laned in operands]
    results = jax.vmap(bind, in_axes=axes, out_axes=-1, axis_size=size)(*(v for v, _ in operands))
    return [(value, True) for value in results]


def _broadcast(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    shape, places = tuple(params["shape"]), tuple(params["broadcast_dimensions"])
    result = lax.broadcast_in_dim(operands[0][0], (*shape, size), (*places, len(shape)))
    return [(result, True)]


def _reshape(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    return [(lax.reshape(operands[0][0], (*shapes[0], size)), True)]


def _transpose(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    order = tuple(params["permutation"])
    return [(lax.transpose(operands[0][0], (*order, len(order))), True)]


def _slice(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    strides = params["strides"]
    result = lax.slice(
        operands[0][0],
        (*params["start_indices"], 0),
        (*params["limit_indices"], size),
        None if strides is None else (*strides, 1),
    )
    return [(result, True)]


def _pad(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    array, filling = spread(operands[0], size), operands[1][0]
    return [(lax.pad(array, filling, (*params["padding_config"], (0, 0, 0))), True)]


def _dynamic_slice(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    (array, _), *starts = operands
    sizes = (*params["slice_sizes"], size)
    return [(lax.dynamic_slice(array, _starts(starts), sizes), True)]


def _gather(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    (array, _), (places, _) = operands
    numbers = params["dimension_numbers"]
    numbers = numbers._replace(offset_dims=(*numbers.offset_dims, len(shapes[0])))
    sizes = (*params["slice_sizes"], size)
    params = {**params, "dimension_numbers": numbers, "slice_sizes": sizes}
    return [(lax.gather_p.bind(array, places, **params), True)]


def _slice_of_each_lane(params: Any, operands: list[Laned], size: int) -> list[Laned]:
    """A slice of its own for each lane, taken where the lanes lie: they are not moved first."""
    (array, laned), *starts = operands
    axes = tuple(range(len(starts)))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=axes,
        collapsed_slice_dims=(),
        start_index_map=axes,
        operand_batching_dims=(len(starts),) if laned else (),
        start_indices_batching_dims=(0,) if laned else (),
    )
    places = jnp.stack([spread(start, size, ()) for start in starts], axis=-1)
    sizes = (*params["slice_sizes"], *(1,) * laned)
    return [(lax.gather(array, places, numbers, sizes, mode=lax.GatherScatterMode.CLIP), True)]


def _dynamic_update_slice(
    params: Any, operands: list[Laned], shapes: Any, size: int
) -> list[Laned]:
    array, update, *starts = operands
    result = lax.dynamic_update_slice(spread(array, size), spread(update, size), _starts(starts))
    return [(result, True)]


def _starts(starts: list[Laned]) -> list[Any]:
    indices = [start for start, _ in starts]
    dtype = jnp.result_type(*indices) if indices else jnp.int32
    return [*indices, jnp.zeros((), dtype)]


def _scan(params: Any, operands: list[Laned], shapes: Any, size: int) -> list[Laned]:
    program = from_jaxpr(params["jaxpr"])
    first, carries = scan_counts(params)
    last = first + carries
    flags, out_flags = _scan_flags(program, params, [flag for _, flag in operands])
    laned = flags[first:last]

    def fitted(results: Sequence[Laned]) -> list[Any]:
        return [
            spread(result, size) if flag else result[0]
            for result, flag in zip(results, laned, strict=True)
        ]

    def body(carry: list[Any], rows: list[Any]) -> tuple[list[Any], list[Any]]:
        values = [*(value for value, _ in operands[:first]), *carry, *rows]
        results = run_in_lanes(program, list(zip(values, flags, strict=True)), size)
        count = last - first
        return fitted(results[:count]), [value for value, _ in results[count:]]

    final, rows = lax.scan(
        body,
        fitted(operands[first:last]),
        [value for value, _ in operands[last:]],
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return list(zip([*final, *rows], out_flags, strict=True))


def _scan_flags(
    program: Program, params: Any, flags: Sequence[bool]
) -> tuple[list[bool], list[bool]]:
    """Which operands and which results of a scan have lanes, where these operands have."""
    flags = list(flags)
    first, carries = scan_counts(params)
    last = first + carries
    while True:
        found = _flags(program, flags)
        after = [a or b for a, b in zip(flags[first:last], found[: last - first], strict=True)]
        if after == flags[first:last]:
            return flags, [*after, *found[last - first :]]
        flags[first:last] = after


def _flags(program: Program, flags: Sequence[bool]) -> list[bool]:
    """Which outputs have lanes where these inputs have."""
    laned = {number for number, flag in zip(program.inputs, flags, strict=True) if flag}
    for equation in program.equations:
        if laned.intersection(equation.ins):
            found = [True] * len(equation.outs)
            if equation.name == "scan":
                inner = [number in laned for number in equation.ins]
                body = from_jaxpr(equation.params["jaxpr"])
                _, found = _scan_flags(body, equation.params, inner)
            laned.update(out for out, flag in zip(equation.outs, found, strict=True) if flag)
    return [number in laned for number in program.outputs]


_RULES: dict[str, Callable[..., list[Laned]]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "scan": _scan,
}
