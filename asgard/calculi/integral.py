"""The integration of a system as one JAX primitive: values by one loop, derivatives by another.

Values come from `runs.run`, in lanes where there is a batch and as one kernel on the CPU;
derivatives come from `runs.replay`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from ..kernel import LARGEST_SUM, as_kernel
from ..primitives import SMOOTH
from ..status import Status
from ..taylor.program import Program, trace
from . import runs
from .runs import Problem, Run
from .system import CHECKS, SMOOTH_CHECKS, Control, Point, System

_CODES = (runs.OUT_OF_STEPS, runs.NONFINITE, runs.NO_STEP)
_FAILURES = (Status.max_steps, Status.nonfinite, Status.step_size)
# How many runs of a batch go side by side on the CPU, at most.
TILE = 64


def integrate(
    system: System,
    ts: Float[Array, " times"],
    begin: Point,
    again: Array,
    control: Control,
    order: int,
    max_steps: int,
    dense: bool = False,
) -> Run:
    """Steps through `ts` from a point at or before `ts[0]`.

    The run ends with the point at the start of the step that covers `ts[-1]`. `again` says that the
    first step was counted in an earlier run. `order` is that of `system.expand`; `dense` asks for
    the path.
    """
    avals = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (begin.time, begin.state)]
    expand = trace(lambda t, y: (system.expand(t, y),), *avals)
    field = trace(lambda t, y: (system.field(t, y),), *avals)
    expand, first = _with_constants_as_inputs(expand)
    field, second = _with_constants_as_inputs(field)
    arguments = (ts, begin, jnp.asarray(again), control, (first, second))
    flat, leaves = jax.tree.flatten(arguments)
    problem = Problem(expand, field, system.wires, _checks(field), order, max_steps, dense, leaves)
    run = jax.tree.structure(runs.blank(problem, ts, begin))
    laned = (False,) * len(flat)
    return jax.tree.unflatten(run, _integral.bind(*flat, problem=problem, laned=laned, size=0))


def status(run: Run) -> Status:
    """How a run ended."""
    found = Status.ok
    for number, member in zip(_CODES, _FAILURES, strict=True):
        found = Status.where(run.status == number, member, found)
    return found


def _with_constants_as_inputs(program: Program) -> tuple[Program, list[Array]]:
    """The program with what it closes over as further inputs, and the values of these."""
    numbers = tuple(n for n, value in program.constants.items() if isinstance(value, jax.Array))
    values = [program.constants[number] for number in numbers]
    rest = {n: value for n, value in program.constants.items() if n not in numbers}
    inputs = (*program.inputs, *numbers)
    return dataclasses.replace(program, inputs=inputs, constants=rest), values


def _checks(field: Program) -> tuple[float, ...]:
    """At which points of a step a field is checked."""
    names_time = any(field.inputs[0] in equation.ins for equation in field.equations)
    branches = any(equation.name not in SMOOTH for equation in field.equations)
    return CHECKS if names_time or branches else SMOOTH_CHECKS


# Where the saved states are among a run's leaves: after the point's and the coefficients.
_SAVED = 6

_integral = Primitive("asgard_integral")
_integral.multiple_results = True


def _outline(problem: Problem, flat: Sequence[Any], laned: Sequence[bool], size: int) -> Run:
    """The types of a run's arrays."""
    ts, begin, *_ = jax.tree.unflatten(
        problem.leaves,
        [
            jax.ShapeDtypeStruct(x.shape[: x.ndim - flag], x.dtype)
            for x, flag in zip(flat, laned, strict=True)
        ],
    )
    run = jax.eval_shape(functools.partial(runs.blank, problem), ts, begin)
    tail = (size,) if size else ()
    return jax.tree.map(lambda leaf: ShapedArray((*leaf.shape, *tail), leaf.dtype), run)


def _abstract(*flat: Any, problem: Problem, laned: Sequence[bool], size: int) -> list[Any]:
    return jax.tree.leaves(_outline(problem, flat, laned, size))


def _run_in_lanes(
    *flat: Any, problem: Problem, laned: Sequence[bool], size: int, kernel: bool = False
) -> list[Array]:
    """The run's leaves by the plain loop, over all lanes at once."""
    flags = jax.tree.unflatten(problem.leaves, laned)

    def loop(*values: Any) -> list[Array]:
        room, flat = values[: len(values) - len(laned)], values[len(values) - len(laned) :]
        arguments = jax.tree.unflatten(problem.leaves, flat)
        return jax.tree.leaves(runs.run(problem, arguments, flags, size, room, scatter=not kernel))

    avals = _abstract(*flat, problem=problem, laned=laned, size=size)
    times, *rest = avals[_SAVED].shape
    room = [jnp.zeros((times + 1, *rest), avals[_SAVED].dtype)]
    if problem.dense:
        room += [jnp.zeros(aval.shape, aval.dtype) for aval in avals[-4:]]
    run = as_kernel(loop, *room, *flat) if kernel else loop(*room, *flat)
    return [leaf[:-1] if number == _SAVED else leaf for number, leaf in enumerate(run)]


def _run_in_tiles(*flat: Any, problem: Problem, laned: Sequence[bool], size: int) -> list[Array]:
    """The run's leaves on the CPU: so many lanes at a time as it holds close by."""
    width = max(1, min(TILE, (LARGEST_SUM - 1) // ((problem.order + 1) * problem.widest)))
    run = functools.partial(_run_in_lanes, problem=problem, laned=laned, kernel=True)
    if size <= width:
        return run(*flat, size=size)
    count = -(-size // width)
    lanes = jnp.minimum(jnp.arange(count * width), size - 1).reshape(count, width)
    tiles = [
        jnp.moveaxis(x[..., lanes], -2, 0) for x, flag in zip(flat, laned, strict=True) if flag
    ]

    def one(tile: list[Array]) -> list[Array]:
        rest = iter(tile)
        return run(
            *(next(rest) if flag else x for x, flag in zip(flat, laned, strict=True)), size=width
        )

    results = lax.map(one, tiles)
    joined = [jnp.moveaxis(x, 0, -2) for x in results]
    return [x.reshape(*x.shape[:-2], count * width)[..., :size] for x in joined]


def _batch(
    flat: Sequence[Any],
    axes: Sequence[Any],
    *,
    problem: Problem,
    laned: Sequence[bool],
    size: int,
) -> tuple[list[Array], list[int]]:
    """More lanes: those of the batch, times those that there are."""
    pairs = list(zip(flat, axes, strict=True))
    count = next(x.shape[axis] for x, axis in pairs if axis is not None)
    batched = []
    for (x, axis), flag in zip(pairs, laned, strict=True):
        if axis is not None:
            x = jnp.moveaxis(x, axis, -1 - flag)
        elif flag:
            x = jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], count, size))
        if size and (flag or axis is not None):
            x = x if flag else jnp.broadcast_to(x[..., None], (*x.shape, size))
            x = x.reshape(*x.shape[:-2], count * size)
        batched.append(x)
    flags = tuple(flag or axis is not None for flag, axis in zip(laned, axes, strict=True))
    results = _integral.bind(*batched, problem=problem, laned=flags, size=count * max(size, 1))
    if size:
        results = [x.reshape(*x.shape[:-1], count, size) for x in results]
    return results, [x.ndim - 1 - bool(size) for x in results]


def _differentiate(
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    problem: Problem,
    laned: Sequence[bool],
    size: int,
) -> tuple[Any, Any]:
    """The values of a run whose path is kept, and the derivatives of taking its steps again."""
    moving = [not isinstance(tangent, ad.Zero) for tangent in tangents]
    kept = dataclasses.replace(problem, dense=True)
    structure = jax.tree.structure(_outline(kept, primals, laned, size))
    values = _integral.bind(*primals, problem=kept, laned=laned, size=size)
    run = jax.tree.unflatten(structure, values)
    _, _, again, *_ = jax.tree.unflatten(problem.leaves, primals)
    sizes, taken = run.path.size, run.steps + again

    def replay(*changing: Any) -> list[Array]:
        rest = iter(changing)
        flat = [next(rest) if moves else x for x, moves in zip(primals, moving, strict=True)]

        def one(sizes: Any, taken: Any, *flat: Any) -> list[Array]:
            arguments = jax.tree.unflatten(problem.leaves, flat)
            return jax.tree.leaves(runs.replay(problem, arguments, sizes, taken))

        if not size:
            return one(sizes, taken, *flat)
        axes = [-1, -1, *(-1 if flag else None for flag in laned)]
        return jax.vmap(one, in_axes=axes, out_axes=-1)(sizes, taken, *flat)

    _, derivatives = jax.jvp(
        replay,
        [x for x, moves in zip(primals, moving, strict=True) if moves],
        [tangent for tangent, moves in zip(tangents, moving, strict=True) if moves],
    )
    values = jax.tree.leaves(run if problem.dense else dataclasses.replace(run, path=None))
    zeros = [
        ad.Zero(jax.typeof(value).to_tangent_aval()) if dot.dtype == jax.dtypes.float0 else dot
        for value, dot in zip(values, derivatives, strict=True)
    ]
    return values, zeros


_integral.def_abstract_eval(_abstract)
_integral.def_impl(_run_in_lanes)
ad.primitive_jvps[_integral] = _differentiate
batching.primitive_batchers[_integral] = _batch
mlir.register_lowering(_integral, mlir.lower_fun(_run_in_lanes, multiple_results=True))
mlir.register_lowering(
    _integral, mlir.lower_fun(_run_in_tiles, multiple_results=True), platform="cpu"
)
