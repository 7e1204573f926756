"""Lanes: a program run for many values at once, side by side along a last axis.

`jax.vmap` puts a batch first, so what one operation touches lies apart in memory. With the batch
last, an operation on small values is one on contiguous lanes.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .fences import always_true, computed_once
from .primitives import traits
from .program import Equation, Program, from_jaxpr, scan_counts


class Laned(NamedTuple):
    """A value, and whether its last axis is lanes."""

    array: Any
    laned: bool


def run_in_lanes(
    program: Program,
    inputs: Sequence[tuple[Any, bool]],
    size: int,
    once: Collection[int] = (),
    first: Collection[int] = (),
) -> list[tuple[Any, bool]]:
    """Runs a program of which some inputs have lanes.

    **Arguments:** `inputs` are arrays, each with whether its last axis is `size` lanes, or its
    first one for the inputs with the numbers `first`; `once` are the numbers of values to compute
    by `computed_once`, each an elementwise function of another.

    **Returns:** the outputs, each with whether its last axis is lanes.
    """

    def last(number: int) -> Laned:
        array, laned = values[number]
        return Laned(jnp.moveaxis(array, 0, -1) if number in first else array, laned)

    if size and _multiplies_lanes(program, inputs):
        return _lanes_first(program, inputs, size, first)
    values = {number: Laned(constant, False) for number, constant in program.constants.items()}
    values.update(zip(program.inputs, (Laned(*pair) for pair in inputs), strict=True))
    for equation in program.equations:
        shapes = [program.avals[number].shape for number in equation.outs]
        own = [number in first for number in equation.ins]
        if any(own) and equation.name == "dot_general":
            operands = [values[number] for number in equation.ins]
            values[equation.outs[0]] = _of_each_lane(equation, operands, size, own)[0]
            continue
        operands = list(map(last, equation.ins))
        if any(number in once for number in equation.outs):
            results = _fenced(equation, *operands)
        else:
            results = _apply(equation, operands, shapes, size)
        values.update(zip(equation.outs, results, strict=True))
    return list(map(last, program.outputs))


def _multiplies_lanes(program: Program, inputs: Sequence[tuple[Any, bool]]) -> bool:
    """Whether a program multiplies matrices that both have lanes, or convolves what has lanes."""
    laned = {n for n, (_, flag) in zip(program.inputs, inputs, strict=True) if flag}
    for equation in program.equations:
        if laned.isdisjoint(equation.ins):
            continue
        laned.update(equation.outs)
        if equation.name == "conv_general_dilated":
            return True
        if equation.name == "dot_general" and laned.issuperset(equation.ins):
            return True
    return False


def _lanes_first(
    program: Program, inputs: Sequence[tuple[Any, bool]], size: int, first: Collection[int]
) -> list[tuple[Any, bool]]:
    """The same by `jax.vmap`, which puts lanes first, where XLA has them in such products. Else it
    would turn each product's operands and results, element by element in what reads them: attention
    of 32 tokens, 64 times, took 12 ms in place of 5."""

    def moved(x: Array, source: int, place: int) -> Array:
        if x.ndim == 1 or 0 in x.shape:
            return jnp.moveaxis(x, source, place)
        # As one row, of which XLA knows a single layout: else it leaves the numbers where they are,
        # and all that reads them turns them.
        shape = jax.eval_shape(lambda: jnp.moveaxis(x, source, place)).shape
        row = jax.ShapeDtypeStruct((x.size,), x.dtype)
        found = computed_once(
            lambda: jnp.moveaxis(x, source, place).reshape(-1), row, always_true(x)
        )
        return found.reshape(shape)

    given = [
        moved(x, -1, 0) if flag and number not in first else x
        for number, (x, flag) in zip(program.inputs, inputs, strict=True)
    ]
    flags = [flag for _, flag in inputs]
    found = _flags(program, flags)
    run = jax.vmap(
        lambda *values: list(map(jnp.asarray, program.run_by({}, values))),
        in_axes=[0 if flag else None for flag in flags],
        out_axes=[0 if flag else None for flag in found],
        axis_size=size,
    )
    pairs = zip(run(*given), found, strict=True)
    return [(moved(x, 0, -1) if flag else x, flag) for x, flag in pairs]


def _fenced(equation: Equation, operand: Laned) -> list[Laned]:
    """The results of an elementwise function, by `computed_once`."""
    array, laned = operand
    results = computed_once(lambda: equation.bind(array), [array], always_true(array))
    return [Laned(x, laned) for x in results]


def spread(value: tuple[Any, bool], size: int, shape: tuple[int, ...] | None = None) -> Array:
    """A value with `size` lanes, broadcast to `shape` before them (its own, if None)."""
    array, laned = jnp.asarray(value[0]), value[1]
    own = array.shape[: array.ndim - laned]
    shape = own if shape is None else shape
    if laned and own == shape:
        return array
    axes = tuple(range(len(shape) - len(own), len(shape)))
    return lax.broadcast_in_dim(array, (*shape, size), (*axes, len(shape)) if laned else axes)


def _apply(
    equation: Equation, operands: list[Laned], shapes: list[tuple[int, ...]], size: int
) -> list[Laned]:
    """The results of an equation; `shapes` are theirs without lanes."""
    if not any(operand.laned for operand in operands):
        return [Laned(x, False) for x in equation.bind(*(operand.array for operand in operands))]
    name, known = equation.name, traits(equation.name)
    steering = [] if known.steered_from is None else operands[known.steered_from :]
    steered = any(operand.laned for operand in steering)
    if known.elementwise:
        found = equation.bind(*_aligned(operands, shapes[0], size))
    elif known.leading_axes:
        found = equation.bind(*(spread(operand, size) for operand in operands))
    elif name == "scan":
        return _scan(equation.params, operands, size)
    elif name in _RULES and not steered:
        found = [_RULES[name](equation.params, operands, shapes[0], size)]
    elif name == "dot_general" and _is_of_one_matrix(equation.params, operands):
        found = [_product(equation.params, operands)]
    elif name == "dynamic_slice":
        found = [_slice_of_each_lane(equation.params, operands, size)]
    else:
        return _of_each_lane(equation, operands, size, [False] * len(operands))
    return [Laned(x, True) for x in found]


def _of_each_lane(
    equation: Equation, operands: list[Laned], size: int, first: Sequence[bool]
) -> list[Laned]:
    """The results of an equation by `jax.vmap`, where the lanes of some operands stand first."""
    pairs = zip(operands, first, strict=True)
    axes = [(0 if is_first else -1) if x.laned else None for x, is_first in pairs]
    over_lanes = jax.vmap(equation.bind, in_axes=axes, out_axes=-1, axis_size=size)
    return [Laned(x, True) for x in over_lanes(*(operand.array for operand in operands))]


def _aligned(operands: list[Laned], shape: tuple[int, ...], size: int) -> list[Any]:
    """The operands of an elementwise operation, with lanes and of one shape.

    Numbers stay numbers: they broadcast.
    """
    return [
        operand.array
        if shape and not operand.laned and jnp.ndim(operand.array) == 0
        else spread(operand, size, shape)
        for operand in operands
    ]


# The rules of primitives whose first operand has lanes: each takes the parameters, the operands,
# the shape of the result without lanes and the number of lanes, and returns the result with lanes.
Shape = tuple[int, ...]


def _broadcast(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    axes = tuple(params["broadcast_dimensions"])
    return lax.broadcast_in_dim(operands[0].array, (*shape, size), (*axes, len(shape)))


def _reshape(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    return lax.reshape(operands[0].array, (*shape, size))


def _transpose(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    return lax.transpose(operands[0].array, (*params["permutation"], len(shape)))


def _slice(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    starts, ends = (*params["start_indices"], 0), (*params["limit_indices"], size)
    strides = params["strides"]
    return lax.slice(operands[0].array, starts, ends, None if strides is None else (*strides, 1))


def _pad(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    padding = (*params["padding_config"], (0, 0, 0))
    return lax.pad(spread(operands[0], size), operands[1].array, padding)


def _dynamic_slice(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    sizes = (*params["slice_sizes"], size)
    return lax.dynamic_slice(operands[0].array, _starts(operands[1:]), sizes)


def _dynamic_update_slice(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    array, update, *starts = operands
    return lax.dynamic_update_slice(spread(array, size), spread(update, size), _starts(starts))


def _starts(starts: list[Laned]) -> list[Any]:
    """The start indices of a slice, with that of the lanes."""
    indices = [start.array for start in starts]
    dtype = jnp.result_type(*indices) if indices else jnp.int32
    return [*indices, jnp.zeros((), dtype)]


def _gather(params: Any, operands: list[Laned], shape: Shape, size: int) -> Array:
    numbers = params["dimension_numbers"]
    numbers = numbers._replace(offset_dims=(*numbers.offset_dims, len(shape)))
    sizes = (*params["slice_sizes"], size)
    params = {**params, "dimension_numbers": numbers, "slice_sizes": sizes}
    return lax.gather_p.bind(operands[0].array, operands[1].array, **params)


def _is_of_one_matrix(params: Any, operands: list[Laned]) -> bool:
    """Whether a product is one of a matrix that all lanes share."""
    _, batch = params["dimension_numbers"]
    placed = params.get("out_sharding") is not None
    return not (batch[0] or placed or all(operand.laned for operand in operands))


def _product(params: Any, operands: list[Laned]) -> Array:
    """A product of a matrix without lanes and of what has lanes.

    The matrix stands on the left, and is summed over by its last axes: so XLA multiplies the lanes
    as they lie. On the right, what has more than one axis besides lanes would be turned, and turned
    back: a density along a flow, 512 points by two hidden layers of 64, took twice as long. And a
    product over first axes takes 1.3 to 1.5 times as long; the barrier keeps XLA from making the
    turned matrix one again.
    """
    (contracted, _), (left, right) = params["dimension_numbers"], operands
    swapped = left.laned
    matrix, lanes = (right, left) if swapped else (left, right)
    over, others = contracted[::-1] if swapped else contracted
    free = [axis for axis in range(matrix.array.ndim) if axis not in over]
    turned = matrix.array
    if over != (last := tuple(range(len(free), turned.ndim))):
        turned = lax.optimization_barrier(lax.transpose(turned, (*free, *over)))
    params = {**params, "dimension_numbers": ((last, others), ((), ()))}
    if swapped and isinstance(params["precision"], tuple):
        params["precision"] = params["precision"][::-1]
    found = lax.dot_general_p.bind(turned, lanes.array, **params)
    if not swapped:
        return found
    end = found.ndim - 1
    return lax.transpose(found, (*range(len(free), end), *range(len(free)), end))


def _slice_of_each_lane(params: Any, operands: list[Laned], size: int) -> Array:
    """A dynamic slice that starts elsewhere in each lane, without moving the lanes first."""
    (array, laned), *starts = operands
    axes = tuple(range(len(starts)))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=axes,
        collapsed_slice_dims=(),
        start_index_map=axes,
        operand_batching_dims=(len(starts),) if laned else (),
        start_indices_batching_dims=(0,) if laned else (),
    )
    indices = jnp.stack([spread(start, size, ()) for start in starts], axis=-1)
    sizes = (*params["slice_sizes"], *(1,) * laned)
    return lax.gather(array, indices, numbers, sizes, mode=lax.GatherScatterMode.CLIP)


def _scan(params: Any, operands: list[Laned], size: int) -> list[Laned]:
    """A scan of which some operands have lanes."""
    program = from_jaxpr(params["jaxpr"])
    constants, carries = scan_counts(params)
    last = constants + carries
    flags, out_flags = _scan_flags(program, params, [operand.laned for operand in operands])

    def fitted(values: Sequence[tuple[Any, bool]]) -> list[Any]:
        """A carry, with lanes where it has them after a turn."""
        laned = flags[constants:last]
        return [spread(x, size) if flag else x[0] for x, flag in zip(values, laned, strict=True)]

    def body(carry: list[Any], rows: list[Any]) -> tuple[list[Any], list[Any]]:
        arrays = [*(operand.array for operand in operands[:constants]), *carry, *rows]
        results = run_in_lanes(program, list(zip(arrays, flags, strict=True)), size)
        return fitted(results[:carries]), [x for x, _ in results[carries:]]

    final, rows = lax.scan(
        body,
        fitted(operands[constants:last]),
        [operand.array for operand in operands[last:]],
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return list(map(Laned, [*final, *rows], out_flags))


def _scan_flags(
    program: Program, params: Any, flags: Sequence[bool]
) -> tuple[list[bool], list[bool]]:
    """Which operands and which results of a scan have lanes, if these operands have.

    A carry has lanes from the start if it has them after some turn.
    """
    flags = list(flags)
    constants, carries = scan_counts(params)
    last = constants + carries
    while True:
        found = _flags(program, flags)
        after = [a or b for a, b in zip(flags[constants:last], found[:carries], strict=True)]
        if after == flags[constants:last]:
            return flags, [*after, *found[carries:]]
        flags[constants:last] = after


def _flags(program: Program, flags: Sequence[bool]) -> list[bool]:
    """Which outputs of a program have lanes, if these inputs have."""
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


_RULES: dict[str, Callable[[Any, list[Laned], Shape, int], Array]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
}
