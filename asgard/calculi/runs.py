"""A run of adaptive steps through the times that are saved, as two loops.

`run` is a plain while loop, over as many lanes as a batch has, which the CPU compiles as one
kernel. `replay` takes the steps of a run once more, at the sizes that it chose, in a bounded loop
of one lane: that has derivatives in forward, reverse and mixed mode.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..lanes import run_in_lanes, spread
from ..loop import bounded_while
from ..taylor.program import Program
from .adaptive import Step, advance, at_number, next_breakpoint, take_step
from .system import Point, System, horner

# How many saved times one turn of the bounded loop reads off a step's polynomial.
SAVES = 16
# How a run stands, in numbers.
OK, OUT_OF_STEPS, NONFINITE, NO_STEP = range(4)


class Path(eqx.Module):
    """Where each step of a run started, and its size, negative where a breakpoint clipped it.

    The last row is for what is not kept.
    In the bounded loop, buffers stand for the arrays.
    """

    time: Any  # [rows, *lanes]
    late: Any  # [rows, *lanes]
    size: Any  # [rows, *lanes]
    state: Any  # [rows, state, *lanes]

    def with_row(self, write: Callable[[Any, Array], Any], point: Point, size: Array) -> "Path":
        """The path with a step written to a row."""
        values = (point.time, point.late, size, point.state)
        return Path(*map(write, self.arrays, values))

    @property
    def arrays(self) -> list[Any]:
        """Its arrays, or the buffers that stand for them."""
        return [self.time, self.late, self.size, self.state]


class Run(eqx.Module):
    """A run: the point at the start of its last step, that step's polynomial, and what is saved.

    `saved` holds the states at the first `count` times; what lies past them is of no meaning.
    `steps` are those taken, `rejected` the sizes refused, `smallest` the smallest step, and `path`
    has the start of each step, from the one that was counted in an earlier run on.
    """

    point: Point
    coefficients: Any  # [orders, state, *lanes]; None while the plain loop runs
    saved: Any  # [times, state, *lanes]; in the bounded loop, a buffer that stands for it
    count: Int[Array, "*lanes"]
    status: Int[Array, "*lanes"]
    steps: Int[Array, "*lanes"]
    rejected: Int[Array, "*lanes"]
    smallest: Float[Array, "*lanes"]
    path: Any  # a Path where it is asked for, else None; in the bounded loop, buffers


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What of a run is static: the system's programs, and how the arguments are laid out.

    `leaves` is the structure of (ts, point, again, control, constants); `expand` and `field` take
    time, state and the constants.
    """

    expand: Program
    field: Program
    wires: np.ndarray
    checks: tuple[float, ...]
    order: int
    max_steps: int
    dense: bool
    leaves: Any

    @property
    def widest(self) -> int:
        """How many numbers the widest wire carries."""
        return int(np.max(np.bincount(self.wires)))


def _system(problem: Problem, constants: Any, laned: Any, size: int) -> System:
    """The system on values with `size` lanes, or none where it is 0."""

    def run(program: Program, values: list[Array], flags: list[bool], t: Array, y: Array) -> Array:
        inputs = [(t, size > 0), (y, size > 0), *zip(values, flags, strict=True)]
        (result,) = run_in_lanes(program, inputs, size)
        return spread(result, size) if size else result[0]

    return System(
        functools.partial(run, problem.expand, constants[0], laned[0]),
        functools.partial(run, problem.field, constants[1], laned[1]),
        problem.wires,
        problem.checks,
        # Side by side, lanes are all that a kernel holds, and a matrix by many vectors is no longer
        # a matrix by a vector, which is all that it multiplies.
        one_by_one=size > 0 or any(one.name == "dot_general" for one in problem.field.equations),
    )


def blank(problem: Problem, ts: Array, begin: Point) -> Run:
    """The run before its first step; its arrays have the types of all runs."""
    lanes = begin.time.shape
    zero = jnp.zeros(lanes, jnp.int32)
    coefficients = jnp.zeros((problem.order + 1, *begin.state.shape), begin.state.dtype)
    saved = jnp.zeros((ts.shape[0], *begin.state.shape), begin.state.dtype)
    infinite = jnp.full(lanes, jnp.inf, ts.dtype)
    path = None
    if problem.dense:
        times = jnp.zeros((problem.max_steps + 2, *lanes), ts.dtype)
        states = jnp.zeros((problem.max_steps + 2, *begin.state.shape), begin.state.dtype)
        path = Path(times, times, times, states)
    return Run(begin, coefficients, saved, zero, zero + OK, zero, zero, infinite, path)


def _direction(ts: Array) -> Array:
    return lax.stop_gradient(jnp.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype))


def _status(step: Step) -> Array:
    refused = jnp.where(step.accepted, OK, NO_STEP)
    return jnp.where(step.finite, refused, NONFINITE).astype(jnp.int32)


def run(problem: Problem, arguments: Any, laned: Any, size: int, room: Any, scatter: bool) -> Run:
    """The run as a plain loop. `room` is for its saved states, a row to spare, and its path."""
    ts, begin, again, control, constants = arguments
    system = _system(problem, constants, laned[4], size)
    if size:
        begin = jax.tree.map(lambda x, flag: spread((x, flag), size), begin, laned[1])
    count, direction = ts.shape[0], _direction(ts)
    write = _scatter if scatter else _write
    lanes = begin.time.shape
    first = jnp.broadcast_to(again, lanes)
    earlier = first.astype(jnp.int32)

    def unfinished(run: Run) -> Array:
        return (run.count < count) & (run.status == OK)

    def body(carry: tuple[Run, Array]) -> tuple[Run, Array]:
        run, first = carry
        active = unfinished(run)
        step = take_step(system, run.point, ts[-1], direction, control)
        status = jnp.where(active, _status(step), run.status)
        good = active & (status == OK)
        saved, number = _save(run, step, ts, good, write)
        path = run.path
        if problem.dense:
            row = jnp.where(first, 0, run.steps + earlier)
            row = jnp.where(good, row, problem.max_steps + 1)
            size_or_less = jnp.where(step.clipped, -step.size, step.size)
            path = path.with_row(
                lambda rows, value: write(rows, row, value), run.point, size_or_less
            )
        fresh = good & ~first
        steps = run.steps + fresh
        status = jnp.where(
            good & (number < count) & (steps >= problem.max_steps), OUT_OF_STEPS, status
        )
        advance = good & (number < count)
        point = jax.tree.map(lambda new, old: jnp.where(advance, new, old), step.after, run.point)
        after = Run(
            point,
            run.coefficients,
            saved,
            number,
            status,
            steps,
            run.rejected + jnp.where(active & ~first, step.rejected, 0),
            jnp.where(fresh, jnp.minimum(run.smallest, step.size), run.smallest),
            path,
        )
        return after, jnp.zeros_like(first)

    # The polynomials of the steps before the last need not be carried: the last one is found anew.
    begun = eqx.tree_at(lambda run: run.coefficients, blank(problem, ts, begin), None)
    begun = _with_room(begun, room)
    run, _ = lax.while_loop(lambda carry: jnp.any(unfinished(carry[0])), body, (begun, first))
    coefficients = system.expand(run.point.time, run.point.state)
    return dataclasses.replace(run, coefficients=coefficients)


def _save(
    run: Run, step: Step, ts: Array, good: Array, write: Callable[[Array, Array, Array], Array]
) -> tuple[Array, Array]:
    """The saved states with all those that a good step covers, and how many there are."""
    count, direction = ts.shape[0], _direction(ts)

    def covers(number: Array) -> Array:
        time = at_number(ts, jnp.minimum(number, count - 1))
        return good & (number < count) & (direction * (time - step.after.time) <= 0)

    def save(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        saved, number = carry
        covered = covers(number)
        time = at_number(ts, jnp.minimum(number, count - 1))
        passed = direction * (time - run.point.time) >= 0  # not beside a breakpoint at a start
        offset = jnp.where(covered & passed, time - run.point.time - run.point.late, 0)
        value = run.point.state + horner(step.coefficients[1:], offset) * offset
        return write(saved, jnp.where(covered, number, count), value), number + covered

    start = run.saved, run.count
    return lax.while_loop(lambda carry: jnp.any(covers(carry[1])), save, start)


def _with_room(run: Run, room: Sequence[Array]) -> Run:
    """A run whose large arrays, its saved states and its path, are given."""
    saved, *path = room
    run = eqx.tree_at(lambda run: run.saved, run, saved)
    return eqx.tree_at(lambda run: run.path, run, Path(*path)) if path else run


def _large(run: Run) -> list[Any]:
    path = run.path
    return [run.saved] if path is None else [run.saved, *path.arrays]


def _write(saved: Array, row: Array, value: Array) -> Array:
    """Writes a row, lane after lane where each has its own."""
    if row.ndim == 0:
        return lax.dynamic_update_slice_in_dim(saved, value[None], row, axis=0)
    zeros = [jnp.zeros((), row.dtype)] * (value.ndim - 1)

    def one(lane: Array, saved: Array) -> Array:
        column = lax.dynamic_slice_in_dim(value, lane, 1, axis=-1)[None]
        number = lax.dynamic_index_in_dim(row, lane, keepdims=False)
        return lax.dynamic_update_slice(saved, column, (number, *zeros, lane.astype(row.dtype)))

    return lax.fori_loop(0, row.shape[0], one, saved)


def _scatter(saved: Array, row: Array, value: Array) -> Array:
    """Writes a row, all lanes at once."""
    if row.ndim == 0:
        return lax.dynamic_update_slice_in_dim(saved, value[None], row, axis=0)
    lanes = jnp.arange(row.shape[0])
    return saved.at[row, ..., lanes].set(jnp.moveaxis(value, -1, 0))


def replay(problem: Problem, arguments: Any, sizes: Array, taken: Array) -> Run:
    """The first `taken` steps of a run once more, at their sizes, in a bounded loop.

    Each turn saves several times, and each row once.
    """
    ts, begin, _, control, constants = arguments
    system = _system(problem, constants, jax.tree.map(lambda _: False, constants), 0)
    count, direction = ts.shape[0], _direction(ts)
    width = min(SAVES, count)
    padded = jnp.concatenate([ts, jnp.full(width, ts[-1])])

    def unfinished(carry: tuple[Run, Array]) -> Array:
        return (carry[0].count < count) & (carry[0].steps < taken)

    def body(carry: tuple[Run, Array]) -> tuple[Run, Array]:
        run, repeated = carry
        point, size = run.point, lax.stop_gradient(sizes[run.steps])
        coefficients = system.expand(point.time, point.state)
        wall = next_breakpoint(point.time, direction, control)
        end = advance(coefficients, point, jnp.abs(size), size < 0, wall, direction)
        places = run.count + jnp.arange(width, dtype=run.count.dtype)
        times = padded[places]
        covered = (direction * (times - end.time) <= 0) & (places < count)
        passed = direction * (times - point.time) >= 0  # not beside a breakpoint at a start
        offsets = jnp.where(covered & passed, times - point.time - point.late, 0)
        values = point.state + jax.vmap(lambda s: horner(coefficients[1:], s) * s)(offsets)
        # Reverse mode takes each row to be written once: what is not covered goes past the last.
        rows = jnp.where(covered, places, count + jnp.arange(width, dtype=places.dtype))
        number = run.count + jnp.sum(covered, dtype=run.count.dtype)
        following = ts[jnp.minimum(number, count - 1)]
        # A step that covers more times than one turn saves is taken again for the next ones.
        stays = (number < count) & (direction * (following - end.time) <= 0)
        path = run.path
        if problem.dense:
            row = jnp.where(repeated, problem.max_steps + 1, run.steps)
            path = path.with_row(lambda rows, value: rows.at[row].set(value), point, size)
        leaves = ~stays & (number < count)
        after = dataclasses.replace(
            run,
            point=jax.tree.map(lambda new, old: jnp.where(leaves, new, old), end, point),
            coefficients=coefficients,
            saved=run.saved.at[rows].set(values),
            count=number,
            steps=run.steps + leaves,
            path=path,
        )
        return after, stays

    room = jnp.zeros((count + width, *begin.state.shape), begin.state.dtype)
    start = dataclasses.replace(blank(problem, ts, begin), saved=room)
    turns = problem.max_steps + -(-count // width) + 1
    run, _ = bounded_while(
        unfinished,
        body,
        (start, jnp.zeros((), bool)),
        max_steps=turns,
        buffers=lambda carry: _large(carry[0]),
    )
    return dataclasses.replace(run, saved=run.saved[:count])
